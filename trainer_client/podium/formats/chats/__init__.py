"""The ways to write the messages of a conversation; all become OpenAI's chat messages.

To add one:

1. write a module with `fits(item)`, which tells its items from all others, and `read(items)`, which
   returns OpenAI chat messages and leaves items of other forms to `openai.read`,
2. enter it in `DIALECTS`, before the forms that it could be taken for,
3. give it a row in docs/generate/files.py, which the tests and the table in the docs are made of.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from podium.formats.chats import (
    anthropic,
    gemini,
    genai,
    langchain,
    openai,
    pydantic_ai,
    responses,
    sharegpt,
    sources,
)
from podium.formats.errors import FormatError
from podium.formats.fields import decoded
from podium.formats.record import Message

# A message of OpenAI's has one of these.
_SAID = {"content", "parts", "tool_calls", "function_call", "message", "blocks", "items"}


class Dialect(NamedTuple):
    """A way to write messages: whether an item is of it, and how a list of items is read."""

    fits: Callable[[Message], bool]
    read: Callable[[list[Message]], list[Message]]


DIALECTS: dict[str, Dialect] = {
    "agents": Dialect(responses.fits, responses.read),
    "langchain": Dialect(langchain.fits, langchain.read),
    "sharegpt": Dialect(sharegpt.fits, sharegpt.read),
    "pydantic_ai": Dialect(pydantic_ai.fits, pydantic_ai.read),
    "sources": Dialect(sources.fits, sources.read),
    "gemini": Dialect(gemini.fits, gemini.read),
    "genai": Dialect(genai.fits, genai.read),
    "anthropic": Dialect(anthropic.fits, anthropic.read),
    "openai": Dialect(openai.fits, openai.read),
}


def dialect_of(items: Any) -> str | None:
    """Return the name of the form of a list of messages; None if it is not one."""
    items = _name_pairs(items)
    if not isinstance(items, list) or not items or not all(isinstance(x, dict) for x in items):
        return None
    for name, dialect in DIALECTS.items():
        known = [dialect, DIALECTS["openai"]]
        fits = any(map(dialect.fits, items))
        if fits and all(any(each.fits(x) for each in known) for x in items):
            return name
    return None


def read_chat(items: Any) -> list[Message] | None:
    """Return the messages of a list in any form; None if it is no list of messages."""
    items = decoded(items)
    if isinstance(items, list) and len(items) == 1 and isinstance(items[0], list):
        items = items[0]  # a batch of one
    items = _name_pairs(items)
    name = dialect_of(items)
    return None if name is None else DIALECTS[name].read(items)


def holds_messages(value: Any) -> bool:
    """Return whether JSON that stood in a text is messages, or parts of one.

    Models answer in JSON, too, so an object needs more than a role, and a part a type.
    """
    items = value if isinstance(value, list) else [value]
    name = dialect_of(items)
    if name == "openai":
        return all(not isinstance(item, dict) or _SAID & item.keys() for item in items)
    is_list = isinstance(value, list) and bool(value)
    return name is not None or (
        is_list and all(isinstance(x, dict) and x.keys() >= {"type", "text"} for x in value)
    )


def read_turns(value: Any, role: str) -> list[Message]:
    """Return the messages of a text, a message, its parts, or a list of messages.

    Args:
        role: who says a text that names no speaker.

    Raises:
        FormatError: If the value is none of these.
    """
    if isinstance(value, str) and holds_messages(inner := decoded(value)):
        value = inner
    if value is None:
        return []
    if isinstance(value, str):
        return _split_text(value) or [{"role": role, "content": value}]
    if isinstance(value, int | float):
        return [{"role": role, "content": str(value)}]
    if isinstance(value, dict):
        value = [value]
    messages = read_chat(value)
    if messages is not None:
        return messages
    if _are_parts(value):
        return [{"role": role, "content": list(value)}]
    if not value:
        return []
    raise FormatError("neither a text nor a list of messages")


def _name_pairs(items: Any) -> Any:
    """Return messages for pairs of a role and a text, which LangChain takes; others unchanged."""
    if not isinstance(items, list) or not items or not all(map(_is_pair, items)):
        return items
    return [{"role": role, "content": text} for role, text in items]


def _is_pair(item: Any) -> bool:
    if not isinstance(item, list) or len(item) != 2 or not all(isinstance(x, str) for x in item):
        return False
    return openai.role_of(item[0]) in ("system", "user", "assistant")


def _are_parts(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(part, str) or (isinstance(part, dict) and {"type", "text"} & part.keys())
        for part in value
    )


def _split_text(text: str) -> list[Message] | None:
    """Return the turns of a text in the form of Anthropic's old prompts; None for other texts."""
    if not text.lstrip().startswith("Human:") or "\n\nAssistant:" not in text:
        return None
    turns: list[Message] = []
    for line in text.strip().split("\n\n"):
        for mark, role in (("Human:", "user"), ("Assistant:", "assistant")):
            if line.startswith(mark):
                turns.append({"role": role, "content": line.removeprefix(mark).strip()})
                break
        else:
            turns[-1]["content"] += f"\n\n{line}"
    if turns[-1] == {"role": "assistant", "content": ""}:  # the answer is to follow
        turns.pop()
    return turns
