"""Messages in the forms of other APIs, which clients send as they are: Anthropic's and so on.

They are read by the code that reads other tools' files, and only where OpenAI's form does not hold,
because that is checked in compiled code.

To read one more form: see `podium.formats.chats`.
"""

from typing import Any

# Where other forms hold what is said. OpenAI's form allows them, because it allows all extra keys,
# so such a message would be taken for an empty one.
_HOLDERS = {
    "parts",
    "blocks",
    "items",
    "images",
    "audio",
    "thinking",
    "channel",
    "recipient",
    "error",
    "text",
    "value",
    "additional_kwargs",
}
_OTHER_ARGUMENTS = {"args", "parameters", "input"}
# A text with JSON in it could hold more values than a body may.
_DECODED = ("tool_calls", "function_call")


def holds_other_form(messages: Any) -> bool:
    """Return whether OpenAI's form would lose what some message says."""
    if not isinstance(messages, list):
        return False
    if set(map(type, messages)) != {dict}:
        messages = [each for each in messages if isinstance(each, dict)]
    if not _HOLDERS.isdisjoint(set().union(*messages)):
        return True
    listed = [each["tool_calls"] for each in messages if each.get("tool_calls")]
    return any(
        _has_other_arguments(call) for calls in listed if isinstance(calls, list) for call in calls
    )


def read_other_form(messages: Any) -> Any:
    """Return messages in OpenAI's form; what is in no form that is known stays as it is."""
    if not isinstance(messages, list) or any(map(_is_encoded, messages)):
        return messages
    from podium.formats.chats import DIALECTS, dialect_of  # takes long, and is rarely needed

    name = dialect_of(messages)
    return messages if name in (None, "sharegpt") else DIALECTS[name].read(messages)


def _has_other_arguments(call: Any) -> bool:
    held = call.get("function") or call if isinstance(call, dict) else None
    if not isinstance(held, dict) or held.get("arguments") is not None:
        return False
    return not _OTHER_ARGUMENTS.isdisjoint(held)


def _is_encoded(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    held = [message.get(name) for name in _DECODED]
    texts = [x for each in held for x in (each if isinstance(each, list) else [each])]
    return any(isinstance(text, str) and len(text) > len("null") for text in texts)
