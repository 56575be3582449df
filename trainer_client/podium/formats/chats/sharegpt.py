"""ShareGPT's turns: `{"from": "human" | "gpt", "value": text}`.

To add a name of a speaker: put it into `ROLES` of openai.py.
"""

from podium.formats.chats import openai
from podium.formats.record import Message


def fits(item: Message) -> bool:
    """Return whether an item names its speaker with `from`."""
    return isinstance(item.get("from"), str) and ("value" in item or "content" in item)


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages; a value of a call holds its name and arguments as JSON."""
    return [_read_turn(item) if fits(item) else item for item in items]


def _read_turn(item: Message) -> Message:
    said = item["value"] if "value" in item else item.get("content")
    return openai.read([{"role": item["from"], "content": said}])[0]
