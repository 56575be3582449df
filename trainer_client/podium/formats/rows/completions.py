"""Rows with a prompt and one completion, or a list of completions.

To add a trainer's or a data set's columns: put its names into fields.py; if `--from` is to know
them by a word of their own, add a `Format` to `FORMATS` before `completions`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from podium.formats import fields
from podium.formats.attempts import (
    are_several,
    ids_of,
    is_conversation,
    read_attempts,
    read_list,
    tools_of,
)
from podium.formats.chats import read_chat
from podium.formats.errors import FormatError
from podium.formats.prompts import read_prompt, row_prompt, with_system
from podium.formats.record import Attempt, Format, Record, Row

_VERL = ("gts", "solution_str", "reward_model", "data_source")
# These say what they are without a prompt beside them; `text` or `answer` alone do not.
_SURE = ("completion", "completions", "responses", "generated_text", "model_output",
         "model_response", "solution_str", "response", "rollouts", "attempts", "generations",
         "trajectories", "summaries", "solution", "actual_output", "output_response",
         "generated_solution", "llm_response", "llm_output", "model_answer",
         "model_patch")  # fmt: skip


def _completion_of(row: Row) -> str | None:
    """Return the name of the field that holds the completion, beside a prompt or for sure."""
    prompt = fields.first_of(row, (*fields.PROMPTS, "task", *fields.REQUESTS, *fields.CHATS))
    names = [
        name
        for name in fields.COMPLETIONS
        if row.get(name) is not None and name != prompt and (prompt or name in _SURE)
    ]
    # A number beside a text is a score or a class.
    return next((x for x in names if not isinstance(row[x], int | float)), next(iter(names), None))


def _list_of(row: Row) -> str | None:
    """Return the name of the field that holds a list of completions; None without one."""
    for name in fields.LISTS:
        value = fields.decoded(row.get(name))
        holds = isinstance(value, list | dict) and value and not is_conversation(value)
        if name == "options" and fields.first_of(row, fields.COMPLETIONS):
            continue  # of a question with several choices
        if holds and (name in _SURE or _asks(row)):
            return name
    for name in fields.CHATS:
        value = row.get(name)
        if isinstance(value, list) and len(value) > 1 and all(map(is_conversation, value)):
            return name
    found = _completion_of(row)
    return found if found and are_several(row[found]) else None


def _asks(row: Row) -> bool:
    """Return whether a row holds a prompt, which may be a chat that waits for an answer."""
    if fields.first_of(row, (*fields.PROMPTS, "task", "prompts")):
        return True
    return any(_waits(row.get(name)) for name in fields.CHATS)


def _has(*names: str) -> Callable[[Row], str | None]:
    def fits(row: Row) -> str | None:
        asked, said = names
        if row.get(asked) is not None and said in row and not _list_of(row):
            return f"a row has {' and '.join(names)}"
        return None

    return fits


def _fits_kto(row: Row) -> str | None:
    if isinstance(row.get("label"), bool) and row.get("prompt") is not None:
        return _has("prompt", "completion")(row) and "a row has prompt, completion and label"
    return None


def _fits_verl(row: Row) -> str | None:
    mark = next((name for name in _VERL if name in row), None)
    name = _list_of(row) or _completion_of(row)
    return f"a row has {name} and {mark}" if mark and name and name != mark else None


def _fits_list(row: Row) -> str | None:
    name = _list_of(row)
    return f"{name} is a list" if name else None


def _fits_any(row: Row) -> str | None:
    name = _completion_of(row)
    if name is None:
        return None
    prompt = fields.first_of(row, (*fields.PROMPTS, "task", *fields.REQUESTS, *fields.CHATS))
    return f"a row has {prompt} and {name}" if prompt else f"a row has {name}"


def _read(row: Row) -> list[Record]:
    if name := _list_of(row):
        return _read_lists(row, name)
    name = _completion_of(row)
    if name is None and any(each in row for each in fields.COMPLETIONS):  # null: an empty attempt
        return [Record(_named([Attempt(row_prompt(row))], row), row)]
    if name is None:
        raise FormatError(f"no completion in a row with {fields.names_of(row)}")
    prompt = row_prompt(row, *_except_prompt(row, name))
    return [Record(_named(read_attempts(row[name], prompt), row), _without(row, name))]


def _without(row: Row, name: str) -> Row:
    return {each: value for each, value in row.items() if each != name}


def _read_lists(row: Row, name: str) -> list[Record]:
    values, prompts = fields.decoded(row[name]), fields.decoded(row.get("prompts"))
    if isinstance(prompts, list) and isinstance(values, list) and len(prompts) == len(values):
        pairs = zip(prompts, values, strict=True)
        return [
            Record(
                read_attempts(each, with_system(row, read_prompt(prompt))),
                {"prompt": prompt, "step": row.get("step")},
            )
            for prompt, each in pairs
        ]
    prompt = row_prompt(row, *_except_prompt(row, name))
    if prompts and not prompt:
        prompt = with_system(row, read_prompt(prompts))
    return [Record(_named(read_list(values, prompt), row), _without(row, name))]


def _except_prompt(row: Row, completion: str) -> tuple[str, ...]:
    """Return the names of the fields that hold no prompt: the completion, and references."""
    rest = [each for each in fields.PROMPTS if row.get(each) is not None and each != completion]
    chats = [] if rest else [x for x in fields.CHATS[2:] if not _waits(row.get(x))]
    return (completion, *chats)


def _waits(value: Any) -> bool:
    """Return whether a value is a chat whose last turn the assistant is to answer."""
    chat = read_chat(value)
    return chat is not None and chat[-1:] != [] and chat[-1].get("role") != "assistant"


def _named(attempts: list[Attempt], row: Row) -> list[Attempt]:
    ids = ids_of(row) if len(attempts) == 1 else {}
    found = fields.first_of(row, ("finish_reason", "stop_reason"))
    tools, stop = tools_of(row), fields.stop_word(row[found] if found else None)
    return [
        replace(
            each,
            ids=ids | each.ids,
            tools=each.tools or tools,
            finish_reason=each.finish_reason or stop,
        )
        for each in attempts
    ]


def _fits_lm_eval(row: Row) -> str | None:
    if isinstance(row.get("resps"), list) and row.get("arguments") is not None:
        return "a row has arguments and resps"
    return None


def _read_lm_eval(row: Row) -> list[Record]:
    """Read a logged sample: the first argument of a request is its prompt."""
    if not _fits_lm_eval(row):
        raise FormatError(f"no arguments and resps in a row with {fields.names_of(row)}")
    asked = row["arguments"]
    asked = list(asked.values()) if isinstance(asked, dict) else asked
    while isinstance(asked, list | dict) and asked and not is_conversation(asked):
        asked = next(iter(asked.values())) if isinstance(asked, dict) else asked[0]
    said = [x for each in row["resps"] for x in (each if isinstance(each, list) else [each])]
    texts = [each for each in said if isinstance(each, str)]
    return [Record(_named(read_list(texts, read_prompt(asked)), row), row)] if texts else []


LISTS = [
    Format("lm-eval", "samples that lm-evaluation-harness logs", _fits_lm_eval, _read_lm_eval),
    Format("verl", "rollouts that verl writes, with ground truths", _fits_verl, _read),
    Format("lists", "a prompt and a list of completions", _fits_list, _read),
]
FORMATS = [
    Format("kto", "KTO's rows: prompt, completion and label", _fits_kto, _read),
    Format("trl", "TRL's rows: prompt and completion", _has("prompt", "completion"), _read),
    Format("alpaca", "Alpaca's rows: instruction, input and output",
           _has("instruction", "output"), _read),
    Format("completions", "a prompt and a completion, under any usual names", _fits_any, _read),
]  # fmt: skip
