"""OpenAI's chat messages, also with ART's choices between them and other names of the roles.

This is the form of the wire, so most of a message is passed on as it is, images included.

To add a name of a role: put it into `ROLES`; of a call's arguments: into `_ARGUMENTS`.
"""

import json
from typing import Any

from podium.formats.fields import decoded
from podium.formats.record import Message

ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "gpt":
    "assistant", "chatgpt": "assistant", "agent": "assistant", "policy": "assistant",
    "environment": "user", "env": "user", "observation": "tool", "ipython": "tool",
    "tool_response": "tool", "tool_result": "tool", "function_response": "tool",
    "prompter": "user", "tool_call": "assistant", "function_call": "assistant", "chatbot":
    "assistant", "latest_reminder": "system",
}  # fmt: skip
_CALLS = ("function_call", "tool_call")  # roles of turns that hold calls as JSON
_FUNCTIONS = "functions."  # before the names of tools in gpt-oss's Harmony
_NO_CALLS = ("", "[]", "null")
_NOT_SENT = "(an image that was not sent)"  # in the place of one that a part only announces
_TEXTS = ("message", "text", "value", "system_prompt")  # where what is said may stand, too
_ARGUMENTS = ("arguments", "args", "parameters", "input")
# A part has one of these; other objects are data, which are shown as JSON.
_PART = {
    "type", "text", "inline_data", "inlineData", "file_data", "fileData", "image", "video", "audio",
    "document",
}  # fmt: skip


def fits(item: Message) -> bool:
    """Return whether an item is a chat message, or a choice that holds one."""
    return isinstance(item.get("role"), str) or _is_choice(item)


def read(items: list[Message]) -> list[Message]:
    """Return the messages with the roles and the fields that the service knows."""
    return [_read_message(item["message"] if _is_choice(item) else item) for item in items]


def role_of(name: Any) -> Any:
    """Return OpenAI's name of a role; what is unknown stays as it is."""
    if not isinstance(name, str):
        return name
    name = _name_of(name)
    return ROLES.get(name, name)


def _name_of(role: Any) -> str:
    # The name of a member of an enumeration is `MessageRole.USER`.
    return str(role).rpartition(".")[2].lower().replace("-", "_")


def _is_choice(item: Message) -> bool:
    message = item.get("message")
    return isinstance(message, dict) and isinstance(message.get("role"), str)


def _read_message(message: Message) -> Message:
    read = {name: value for name, value in message.items() if value is not None}
    read["role"] = role_of(message.get("role"))
    if _name_of(message.get("role")) in _CALLS and (calls := _called(message.get("content"))):
        return read | {"content": None, "tool_calls": calls}
    if (content := _content_of(message)) is not None:
        read["content"] = content
    if read["role"] == "assistant" and ("channel" in read or "recipient" in read):
        read = _read_harmony(read)
    if isinstance(more := message.get("additional_kwargs"), dict) and "tool_call_id" in more:
        read.setdefault("tool_call_id", more["tool_call_id"])
    if isinstance(thoughts := read.get("thinking"), str):
        read.setdefault("reasoning_content", thoughts)  # Ollama
    for name in ("tool_calls", "function_call"):
        if isinstance(message.get(name), str):
            read[name] = None if message[name].strip() in _NO_CALLS else decoded(message[name])
    calls = read.pop("tool_calls", None) or _other_calls(message)
    if isinstance(calls, dict):
        calls = [calls]
    if calls and read["role"] == "user" and all(map(_is_of_user, calls)):
        return read | {"content": dump([_called_by_user(call) for call in calls])}
    if calls:
        is_list = isinstance(calls, list)
        read["tool_calls"] = [_read_call(x) for x in calls if x is not None] if is_list else calls
    return read


def _other_calls(message: Message) -> list[Any]:
    """Return the calls that LlamaIndex has among the blocks, or beside the content."""
    blocks, more = message.get("blocks"), message.get("additional_kwargs")
    calls = [
        {"id": x.get("tool_call_id"), "name": x.get("tool_name"), "arguments": x.get("tool_kwargs")}
        for x in (blocks if isinstance(blocks, list) else ())
        if isinstance(x, dict) and x.get("block_type") == "tool_call"
    ]
    held = more.get("tool_calls") if isinstance(more, dict) else None
    return calls or (held if isinstance(held, list) else [])


def _is_of_user(call: Any) -> bool:
    return isinstance(call, dict) and call.get("requestor") == "user"


def _called_by_user(call: Message) -> Message:
    """Return what tells a call of the user's own tools, which tau2-bench gives to its users."""
    return {"name": call.get("name"), "arguments": call.get("arguments")}


def _read_harmony(turn: Message) -> Message:
    """Return a turn of gpt-oss as thoughts, a call, or what it is; the channel tells which."""
    said, recipient = turn.get("content"), turn.get("recipient")
    if isinstance(recipient, str) and recipient.startswith(_FUNCTIONS):
        arguments = said if isinstance(said, str) else "".join(_texts(said))
        call = {"name": recipient.removeprefix(_FUNCTIONS), "arguments": arguments}
        return turn | {"content": None, "tool_calls": [call]}
    if turn.get("channel") == "analysis":
        return turn | {"content": None, "reasoning_content": said}
    return turn


def _texts(parts: Any) -> list[str]:
    held = [each.get("text") for each in parts or () if isinstance(each, dict)]
    return [text for text in held if isinstance(text, str)]


def _called(content: Any) -> list[Any]:
    """Return the calls that a text holds as JSON; none if it holds something else."""
    value = decoded(content)
    calls = value if isinstance(value, list) else [value]
    return calls if all(isinstance(call, dict) and "name" in call for call in calls) else []


def _content_of(message: Message) -> Any:
    """Return the content in OpenAI's form, wherever it stands; None for a turn without any."""
    is_result = role_of(message.get("role")) == "tool"
    content, images = message.get("content"), message.get("images")
    if is_result and isinstance(content, list) and not all(map(_may_be_part, content)):
        content = dump(content)
    content = _read_content(content)
    for name, kind in (("blocks", "block_type"), ("items", "content_type")):
        # LlamaIndex, Semantic Kernel
        if content is None and isinstance(blocks := message.get(name), list):
            content = [
                {"type": each.get(kind), **each} if isinstance(each, dict) else each
                for each in blocks
                if not (isinstance(each, dict) and each.get(kind) == "tool_call")
            ]
    if content is None:  # Cohere's first API, and logs of agents
        content = next((x for x in map(message.get, _TEXTS) if isinstance(x, str)), None)
    if not content and is_result:
        content = _read_error(message.get("error")) or content  # Inspect's
    if content is None and isinstance(audio := message.get("audio"), dict):
        content = audio.get("transcript")
    if isinstance(images, list) and images and all(isinstance(each, str) for each in images):
        shown = [{"type": "image", "data": each} for each in images]  # Ollama
        said = content if isinstance(content, list) else [content] if content else []
        content = [*said, *shown]
    return content


def _read_error(error: Any) -> str | None:
    said = error.get("message") if isinstance(error, dict) else error
    return f"Error: {said}" if isinstance(said, str) else None


def _may_be_part(value: Any) -> bool:
    return value is None or isinstance(value, str | dict)


def _read_content(content: Any) -> Any:
    if isinstance(content, list):
        parts = [_read_part(each) for each in content if each is not None]
        return [each for each in parts if each is not None]
    if isinstance(content, dict):
        return [content] if content.keys() & _PART else dump(content)
    return content if content is None or isinstance(content, str) else dump(content)


def _read_part(part: Any) -> Any:
    """Return a part in OpenAI's form; None for one that says nothing."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "reference":  # of Mistral, to sources by number
        return None
    if kind == "image" and all(value is None for name, value in part.items() if name != "type"):
        return {"type": "text", "text": _NOT_SENT}
    if kind in ("document", "resource") and (shown := document_text(part)) is not None:
        return {"type": "text", "text": shown}
    if isinstance(thoughts := part.get("reasoningContent"), dict):
        return {"type": "thinking", "thinking": thoughts.get("reasoningText")}  # Bedrock
    if kind == "compaction":  # what Anthropic's API keeps of the turns before it
        return {"type": "text", "text": part.get("content") or ""}
    if kind is None and isinstance(image := part.get("image"), dict) and "format" in image:
        source = image.get("source")
        data = source.get("bytes") if isinstance(source, dict) else None
        return {"type": "image", "data": data, "mime_type": f"image/{image['format']}"}  # Bedrock
    if kind in ("resource_link", "search_result"):
        return {"type": "text", "text": _link_text(part)}
    if not part.keys() & _PART:
        return dump(part)
    if part.get("type", "") is None:
        part = {name: value for name, value in part.items() if name != "type"}
    if isinstance(text := part.get("text"), dict) and isinstance(text.get("value"), str):
        part = {**part, "text": text["value"]}  # the Assistants API
    return part


def document_text(part: Message) -> str | None:
    """Return the text of a document of Anthropic or Cohere, or of MCP's resource; None for data."""
    held = next((part[x] for x in ("source", "document", "resource") if x in part), None)
    if isinstance(held, dict):
        is_encoded = held.get("type") == "base64"
        held = None if is_encoded else next((held[x] for x in ("text", "data") if x in held), held)
    if isinstance(held, dict):
        held = dump(held) if part["type"] == "document" and "source" not in part else None
    return held if isinstance(held, str) else None


def _link_text(part: Message) -> str:
    """Return what is read of a link of MCP's, or of a hit that Anthropic's API is given."""
    about = next((part[x] for x in ("title", "name") if part.get(x)), "")
    where = next((part[x] for x in ("uri", "source") if part.get(x)), "")
    return (
        "\n".join(filter(None, (f"{about} {where}".strip(), *_texts(part.get("content"))))) + "\n"
    )


def _read_call(call: Any) -> Any:
    """Return a call with a function of that name; it may be a custom tool's, or have other names.

    What is of OpenAI's form stays as it is.
    """
    call = decoded(call)
    if not isinstance(call, dict):
        return call
    held = next((call[x] for x in ("function", "custom") if isinstance(call.get(x), dict)), call)
    name = next((each for each in _ARGUMENTS if held.get(each) is not None), "arguments")
    arguments = held.get(name)
    is_plain = arguments is None or isinstance(arguments, str | dict | list)
    named = call.get("function")  # may be the name itself, as Inspect writes it
    is_ours = call.get("type") in (None, "function") and not isinstance(named, str)
    if is_ours and name == "arguments" and is_plain:
        return call
    function = {"arguments": arguments if is_plain else dump(arguments)}
    if "name" in held or isinstance(named, str):
        function["name"] = held.get("name", named)
    return {"id": call.get("id"), "type": "function", "function": function}


def dump(value: Any) -> str:
    """Return a value as JSON; what JSON has no form for is a text in it."""
    return json.dumps(value, ensure_ascii=False, default=str)
