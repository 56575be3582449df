"""Messages that name their source: AutoGen's, and the steps of ATIF, the agents' trajectory format.

To add a type of AutoGen's messages: nothing is to be done if its content is a text, a list of calls
or a list of results.
"""

import re
from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message

_INNER = ("ThoughtEvent", "MemoryQueryEvent", "ModelClientStreamingChunkEvent")
_TYPE = re.compile(r"\w*(Message|Event)(\[.*\])?")  # the type of a structured content is named
_WITHOUT_SOURCE = ("SystemMessage", "FunctionExecutionResultMessage")
_WITH_IMAGES = ("MultiModalMessage", "UserMessage")


def fits(item: Message) -> bool:
    """Return whether an item names its source, and is a message or an event."""
    kind = str(item.get("type", ""))
    if "role" in item or not (isinstance(item.get("source"), str) or kind in _WITHOUT_SOURCE):
        return False
    return _TYPE.fullmatch(kind) is not None or ("step_id" in item and "message" in item)


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages; the results of a step are messages of their own."""
    read: list[Message] = []
    for item in items:
        if not fits(item):
            read += openai.read([item])
        else:
            read += _read_step(item) if "step_id" in item else _read_event(item)
    return read


def _read_step(step: Message) -> list[Message]:
    turn: Message = {"role": openai.role_of(step["source"]), "content": step.get("message") or ""}
    if step.get("reasoning_content"):
        turn["reasoning_content"] = step["reasoning_content"]
    if calls := [_call(call) for call in _dicts(step.get("tool_calls"))]:
        turn["tool_calls"] = calls
    seen = step.get("observation")
    results = _dicts(seen.get("results")) if isinstance(seen, dict) else []
    return openai.read([turn, *(_result(each, "source_call_id") for each in results)])


def _read_event(event: Message) -> list[Message]:
    kind, content = event.get("type"), event.get("content")
    if kind in _INNER:
        return []
    held = _dicts(content)
    if held and all("call_id" in each for each in held):
        return openai.read([_result(each, "call_id") for each in held])
    role = "user" if str(event.get("source")).startswith("user") else "assistant"
    if kind == "SystemMessage":
        role = "system"
    if held and all("arguments" in each for each in held):
        return openai.read([{"role": role, "content": None, "tool_calls": held}])
    if kind in _WITH_IMAGES and isinstance(content, list):
        content = [_image(each) if isinstance(each, dict) else each for each in content]
    return openai.read([{"role": role, "content": content}])


def _image(part: Message) -> Message:
    """Return an image of AutoGen, which writes a PNG as nothing but its base64."""
    if part.keys() != {"data"} or not isinstance(part["data"], str):
        return part
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{part['data']}"}}


def _call(call: Message) -> Message:
    name = call.get("function_name")
    return {"id": call.get("tool_call_id"), "name": name, "arguments": call.get("arguments")}


def _result(result: Message, id_name: str) -> Message:
    named = {"name": result["name"]} if result.get("name") else {}
    content = result.get("content")
    return {"role": "tool", "tool_call_id": result.get(id_name), "content": content, **named}


def _dicts(value: Any) -> list[Message]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
