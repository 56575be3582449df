"""Answers of a model's API with their choices, with or without the request; and batch output.

The API's are OpenAI's chat and legacy completions and its Responses API, Anthropic's messages, and
Gemini's `generateContent`. Several choices are the attempts of a group.

To add an API: give its answer a branch in `_read_answer` of attempts.py, and a mark in `_MARKS`.
"""

from dataclasses import replace
from typing import Any

from podium.formats import fields
from podium.formats.attempts import ids_of, read_attempts, tools_of
from podium.formats.chats import read_chat
from podium.formats.errors import FormatError
from podium.formats.prompts import kind_of, row_prompt, with_system
from podium.formats.record import Attempt, Format, Record, Row, prompt_of

_ANSWERS = ("response", "response_body", "output", "completion", "chat_completion", "raw_response",
            "result", "body", "responses", "modelOutput")  # fmt: skip
_OUTCOMES = ("response", "result")
_MAX_DEPTH = 4


def _fits_answer(row: Row) -> str | None:
    if kind := kind_of(row):
        return f"a row is {kind}"
    for name in _ANSWERS:
        if kind := kind_of(fields.decoded(row.get(name))):
            return f"the field {name} is {kind}"
    return None


def _read_answer(row: Row) -> list[Record]:
    name = None if kind_of(row) else next(
        (each for each in _ANSWERS if kind_of(fields.decoded(row.get(each)))), None
    )  # fmt: skip
    return [_record(row, row if name is None else row[name], name)]


def _record(row: Row, answer: Any, name: str | None) -> Record:
    if name is None:
        # The input of a Responses answer is its own prompt, which `read_attempts` reads.
        own = "input" if row.get("object") == "response" else ""
        prompt = row_prompt(row, own, *fields.COMPLETIONS)
    else:
        prompt = row_prompt(row, name, *fields.COMPLETIONS)
    attempts = _prefer_whole(read_attempts(answer, prompt), row)
    tools = tools_of(row)
    ids = ids_of(row) if len(attempts) == 1 else {}
    return Record(
        [replace(each, ids=ids | each.ids, tools=each.tools or tools) for each in attempts],
        row,
    )


def _prefer_whole(attempts: list[Attempt], row: Row) -> list[Attempt]:
    """Return the row's conversation for its only answer, if it ends with that answer."""
    chat = next(filter(None, (read_chat(row.get(name)) for name in fields.CHATS)), None)
    if len(attempts) != 1 or not chat or not attempts[0].messages:
        return attempts
    if chat[-1].get("content") != attempts[0].messages[-1].get("content"):
        return attempts
    return [replace(attempts[0], messages=with_system(row, chat))]


def _fits_batch(row: Row) -> str | None:
    name = _name_of_request(row)
    if name and any(each in row for each in (*_OUTCOMES, "error")):
        return f"a line has {name} and a response"
    return None


def _name_of_request(row: Row) -> str | None:
    """Return the field that holds what a batch's line is called; of Gemini's it is `key`."""
    is_gemini = isinstance(row.get("key"), str) and (kind_of(row.get("response")) or "error" in row)
    return "custom_id" if "custom_id" in row else "key" if is_gemini else None


def _read_batch(row: Row) -> list[Record]:
    called = str(row.get(_name_of_request(row) or "custom_id"))
    name = fields.first_of(row, _OUTCOMES)
    answer: Any = row[name] if name else None
    for _ in range(_MAX_DEPTH):
        inner = fields.first_of(answer, ("body", "message"))
        if inner is None or kind_of(answer):
            break
        answer = answer[inner]
    if not kind_of(answer):
        raise FormatError(f"request {called[:64]!r} of the batch has no answer")
    record = _record(row, answer, name)
    ids = {"id": called[:256]} if len(record.attempts) == 1 else {}
    attempts = [replace(each, ids=ids) for each in record.attempts]
    # Without prompts, the ids of the requests are all that can tell whose attempts these are.
    has_prompt = any(prompt_of(each.messages) for each in attempts)
    return [Record(attempts, row if has_prompt else {"group_id": _stem(called), **row})]


def _stem(custom_id: str) -> str:
    """Return what the ids of one prompt's requests share: all but their last part."""
    ends = max(custom_id.rfind(mark) for mark in "-_/:.#")
    return custom_id[:ends] if ends > 0 else ""


BATCH = [
    Format("batch", "lines of a batch API's output (OpenAI, Anthropic)", _fits_batch, _read_batch)
]
FORMATS = [
    Format("choices", "answers of a model's API, with n choices", _fits_answer, _read_answer),
]
