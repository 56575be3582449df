"""Conversations for the judge, from prompts and completions as trainers have them.

The service takes messages as clients write them: without call ids, with null or list contents. What
is left to do here is what JSON cannot carry. To convert one more kind of value, add it to `_part`.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

Message = Mapping[str, Any]
Text = str | Sequence[Message]


def conversation(prompt: Text, completion: Text) -> list[Message]:
    """Return the messages of a prompt and its completion; each is a text or messages already.

    Messages without any field are left out; some trainers write them for an empty completion.
    """
    messages = [*_messages("user", prompt), *_messages("assistant", completion)]
    return [_sendable(message) for message in messages if message]


def as_text(value: Any) -> str | None:
    """Return a value of a data set as text, which is JSON for lists and objects; None for None."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return None if value is None else str(value)


def _messages(role: str, text: Text) -> Sequence[Message]:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _sendable(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_part(part) for part in content]}


def _part(part: Any) -> Any:
    """Return a part of a content; an image of Pillow becomes a data URL."""
    image = part.get("image") if isinstance(part, dict) else None
    save = getattr(image, "save", None)
    if save is None:
        return part
    file = BytesIO()
    save(file, "PNG")
    url = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
