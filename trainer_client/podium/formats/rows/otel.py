"""Spans of OpenTelemetry that describe calls of a model: OTLP's JSON, or one span as an object.

The current GenAI conventions (`gen_ai.input.messages`), their older events, and the flat attributes
of OpenLLMetry (`gen_ai.prompt.0.role`) and OpenInference (`llm.input_messages.0...`) are read. Of a
trace, the last call counts, because it shows all messages before it.

To add a convention: give its attributes a branch in `_read_attributes`.
"""

from collections.abc import Iterator
from typing import Any

from podium.formats.chats import read_chat
from podium.formats.fields import decoded, dicts, look_up, stop_word
from podium.formats.prompts import join, read_prompt, with_system
from podium.formats.record import Attempt, Format, Message, Record, Row

_EVENTS = {
    "gen_ai.system.message": "system", "gen_ai.user.message": "user", "gen_ai.choice": "assistant",
    "gen_ai.assistant.message": "assistant", "gen_ai.tool.message": "tool",
}  # fmt: skip
_MARKS = ("gen_ai.", "llm.", "ai.prompt", "pydantic_ai.", "all_messages_events")
_WHOLE = ("pydantic_ai.all_messages", "all_messages_events", "events")  # Logfire
_FLAT = (
    ("gen_ai.prompt", "gen_ai.completion"),
    ("llm.input_messages", "llm.output_messages"),
)


def _fits(row: Row) -> str | None:
    for field in ("resourceSpans", "resource_spans"):
        if isinstance(row.get(field), list):
            return f"a row has {field}"
    named = _attributes(row).keys()
    marked = sorted(x for x in named if x.startswith(_MARKS) or x == "llm")
    return f"a span has the attribute {marked[0]}" if marked else None


def _read(row: Row) -> list[Record]:
    return [record for span in _spans(row) if (record := _read_span(span))]


def _spans(row: Row) -> Iterator[Row]:
    resources = row.get("resourceSpans") or row.get("resource_spans")
    if not isinstance(resources, list):
        yield row
    for resource in dicts(resources):
        for scope in dicts(resource.get("scopeSpans") or resource.get("scope_spans")):
            yield from dicts(scope.get("spans"))


def _read_span(span: Row) -> Record | None:
    """Return the call of a span; None for a span without messages."""
    attributes = _attributes(span)
    for event in dicts(span.get("events")):
        if event.get("name") not in _EVENTS:
            attributes |= _attributes(event)
    asked, answers = _read_attributes(attributes) or _read_events(span)
    if not answers:
        return None
    attempts = [
        Attempt(join(asked, [answer]), {}, stop_word(answer.get("finish_reason")), tools)
        for tools in [_tools(attributes)]
        for answer in answers
    ]
    context = span["context"] if isinstance(span.get("context"), dict) else span
    trace = next((context[n] for n in _TRACES if context.get(n)), None)
    for attempt in attempts if len(attempts) == 1 else ():
        attempt.ids.update({"trace_id": str(trace)[:256]} if trace else {})
    ends = next((span[n] for n in _ENDS if span.get(n) is not None), "")
    at = str(ends).rjust(24, "0")
    fields = attributes | {"attributes": attributes}
    return Record(attempts, fields, trace=None if trace is None else str(trace), at=at)


_TRACES = ("traceId", "trace_id", "context.trace_id")
_ENDS = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime", "startTimeUnixNano",
         "start_time_unix_nano", "start_time", "startTime")  # fmt: skip


def _read_attributes(attributes: Row) -> tuple[list[Message], list[Message]] | None:
    """Return what was asked and what was answered; None if attributes do not hold it."""
    output = decoded(attributes.get("gen_ai.output.messages"))
    if output:
        asked = read_prompt(attributes.get("gen_ai.input.messages"))
        system = decoded(attributes.get("gen_ai.system_instructions"))
        return with_system({"system": system}, asked), _chat(output)
    if said := attributes.get("ai.response.text"):  # Vercel's AI SDK
        asked = read_prompt(
            decoded(attributes.get("ai.prompt.messages") or attributes.get("ai.prompt"))
        )
        return asked, [{"role": "assistant", "content": said}]
    for name in _WHOLE:
        chat = _chat(_plain_events(decoded(attributes.get(name))))
        if chat and chat[-1].get("role") == "assistant":
            return chat[:-1], chat[-1:]
    if answers := _phoenix(attributes, "llm.output_messages"):
        return _phoenix(attributes, "llm.input_messages"), answers
    for prompt, completion in _FLAT:
        answers = _chat(_unflatten(attributes, completion))
        if answers:
            return _chat(_unflatten(attributes, prompt)), answers
    return None


def _phoenix(attributes: Row, path: str) -> list[Message]:
    """Return the messages in a list of OpenInference's, as Phoenix exports them."""
    return _chat(
        [
            {name: value for name in _PARTS if (value := look_up(each, f"message.{name}"))}
            | {"tool_calls": [*map(_call, dicts(look_up(each, "message.tool_calls")))]}
            for each in dicts(decoded(look_up(attributes, path)))
        ]
    )


_PARTS = ("role", "content", "tool_call_id", "name")


def _call(call: Row) -> Row:
    names = {"id": "id", "name": "function.name", "arguments": "function.arguments"}
    return {name: look_up(call, f"tool_call.{path}") for name, path in names.items()}


def _plain_events(value: Any) -> Any:
    """Return the messages in a list of events; other values as they are."""
    if not isinstance(value, list) or not any("event.name" in each for each in dicts(value)):
        return value
    events = [each for each in dicts(value) if each.get("event.name") in _EVENTS]
    return [
        {"role": _EVENTS[each["event.name"]]}
        | (each["message"] if isinstance(each.get("message"), dict) else each)
        for each in events
    ]


def _read_events(span: Row) -> tuple[list[Message], list[Message]]:
    asked: list[Message] = []
    answers: list[Message] = []
    for event in dicts(span.get("events")):
        role = _EVENTS.get(str(event.get("name")))
        if role is None:
            continue
        fields = _attributes(event)
        message = decoded(fields.get("message"))
        said = {"role": role, **(message if isinstance(message, dict) else {}), **fields}
        for name in ("tool_calls", "content"):
            said[name] = decoded(said.get(name))
        said = {name: value for name, value in said.items() if value is not None}
        target = answers if event["name"] == "gen_ai.choice" else asked
        target += _chat([said | {"role": role}])
    return asked, answers


def _chat(value: Any) -> list[Message]:
    return read_chat([value] if isinstance(value, dict) else value) or []


def _tools(attributes: Row) -> list[Any] | None:
    tools = decoded(attributes.get("gen_ai.tool.definitions"))
    return tools if isinstance(tools, list) and len(dicts(tools)) == len(tools) else None


def _attributes(holder: Row) -> Row:
    """Return the attributes of a span or an event as an object, also from OTLP's list of pairs."""
    attributes = decoded(holder.get("attributes"))
    if attributes is None:  # the columns of Phoenix's tables
        start = "attributes."
        return {x.removeprefix(start): held for x, held in holder.items() if x.startswith(start)}
    if isinstance(attributes, dict):
        return dict(attributes)
    return {
        str(pair.get("key")): _any_value(pair.get("value"))
        for pair in dicts(attributes)
        if "key" in pair
    }


def _any_value(value: Any, depth: int = 0) -> Any:
    """Return the value that OTLP's JSON wraps into an object that names its type."""
    if not isinstance(value, dict) or depth > 16:
        return value
    if isinstance(value.get("arrayValue"), dict):
        return [_any_value(each, depth + 1) for each in dicts(value["arrayValue"].get("values"))]
    if isinstance(value.get("kvlistValue"), dict):
        return {
            str(pair.get("key")): _any_value(pair.get("value"), depth + 1)
            for pair in dicts(value["kvlistValue"].get("values"))
        }
    return next(iter(value.values()), None)


def _unflatten(attributes: Row, prefix: str) -> list[Message]:
    """Return messages from attributes such as `gen_ai.prompt.0.tool_calls.1.name`."""
    messages: dict[int, Row] = {}
    for name, value in attributes.items():
        index, _, path = name.removeprefix(f"{prefix}.").partition(".")
        if name.startswith(f"{prefix}.") and index.isdecimal() and len(index) < 6:
            _set(messages.setdefault(int(index), {}), path.removeprefix("message."), value)
    return [
        {name: _listed(value) for name, value in messages[index].items()}
        for index in sorted(messages)
    ]


def _set(message: Row, path: str, value: Any) -> None:
    head, _, rest = path.partition(".")
    index, _, leaf = rest.partition(".")
    if index.isdecimal() and leaf:
        calls = message.setdefault(head, {})
        if isinstance(calls, dict):
            call = calls.setdefault(int(index[:6]), {})
            call[leaf.removeprefix("tool_call.").removeprefix("function.")] = value
    else:
        message[path] = value


def _listed(value: Any) -> Any:
    if isinstance(value, dict) and all(isinstance(each, int) for each in value):
        return [value[index] for index in sorted(value)]
    return value


FORMATS = [Format("otel", "GenAI spans of OpenTelemetry, as objects or OTLP's JSON", _fits, _read)]
