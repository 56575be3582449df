"""Traces and observations that Langfuse exports, and runs that LangSmith exports.

Of a trace, the last generation counts, because it shows all messages before it; a trace without
generations is read by its own input and output.

To add the export of another tracer with inputs and outputs: add a `Format` that yields one `Record`
a call by `_read_call`.
"""

from collections.abc import Sequence
from typing import Any

from podium.formats.attempts import ids_of, read_attempts, tools_of
from podium.formats.chats import read_chat
from podium.formats.fields import CHATS, dicts, first_of
from podium.formats.prompts import join, read_prompt
from podium.formats.record import Format, Message, Record, Row

_IDS = ("traceId", "trace_id")
_TIMES = ("endTime", "end_time", "startTime", "start_time", "timestamp")


def _fits_langfuse(row: Row) -> str | None:
    if isinstance(row.get("observations"), list):
        return "a trace has observations"
    is_typed = row.get("type") in ("GENERATION", "SPAN", "EVENT", "AGENT", "TOOL", "CHAIN")
    if is_typed and first_of(row, _IDS):
        return "an observation has a type and the id of its trace"
    if {"projectId", "sessionId", "htmlPath", "userId"} & row.keys() and "output" in row:
        return "a trace has an input, an output and the fields of Langfuse"
    return None


def _read_langfuse(row: Row) -> list[Record]:
    observations = [x for x in dicts(row.get("observations")) if x.get("type") == "GENERATION"]
    if observations:
        calls = [_read_call(each, row.get("id") or "", "input", "output") for each in observations]
        return [call for call in calls if call]
    if row.get("type") in ("SPAN", "EVENT", "AGENT", "TOOL", "CHAIN"):
        return []
    call = _read_call(row, first_of_ids(row), "input", "output")
    return [call] if call else []


def _fits_langsmith(row: Row) -> str | None:
    if isinstance(row.get("inputs"), dict) and isinstance(row.get("outputs"), dict):
        return "a run has inputs and outputs"
    return None


def _read_langsmith(row: Row) -> list[Record]:
    call = _read_call(row, first_of_ids(row), "inputs", "outputs")
    return [call] if call else []


def first_of_ids(row: Row) -> Any:
    """Return the id of the trace that a row is a part of; None if it names none."""
    name = first_of(row, _IDS)
    return row[name] if name else None


def _read_call(row: Row, trace: Any, asked: str, answered: str) -> Record | None:
    """Return the call of a model in a row; None for one without an answer."""
    if row.get(answered) is None:
        return None
    prompt = _prompt(row.get(asked))
    attempts = read_attempts(row[answered], prompt)
    holder = row.get(asked)
    tools = tools_of(holder) if isinstance(holder, dict) else None
    ids = {"trace_id": str(trace)[:256]} if trace else ids_of(row)
    named = [
        type(each)(
            join(prompt, each.messages),
            ids if len(attempts) == 1 else {},
            each.finish_reason,
            each.tools or tools,
        )
        for each in attempts
    ]
    time = first_of(row, _TIMES)
    return Record(
        named, row, trace=str(trace) if trace else None, at=str(row[time]) if time else ""
    )


def _prompt(value: Any) -> Sequence[Message]:
    if isinstance(value, dict):
        for name in CHATS:
            if messages := read_chat(value.get(name)):
                return messages
    return read_prompt(value)


FORMATS = [
    Format("langfuse", "Langfuse's traces and observations", _fits_langfuse, _read_langfuse),
    Format("langsmith", "LangSmith's runs", _fits_langsmith, _read_langsmith),
]
