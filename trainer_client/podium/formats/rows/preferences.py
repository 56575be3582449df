"""Preference pairs: a chosen and a rejected answer, as text or messages, with the prompt or in it.

To add names of the two: put them into `_SIDES`.
"""

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

from podium.formats.attempts import is_conversation, read_attempts, tools_of
from podium.formats.chats import dialect_of
from podium.formats.prompts import decode, row_prompt
from podium.formats.record import Attempt, Format, Message, Record, Row

_SIDES = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("preferred", "rejected"),
    ("preferred", "dispreferred"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("accepted", "rejected"),
    ("messages", "rejected_messages"),
    ("messages", "rejected_response"),
    ("response", "rejected_response"),
    ("winner_response", "loser_response"),
    ("better", "worse"),
    ("positive", "negative"),
    ("correct", "incorrect"),
)
_SIDE = re.compile(
    r"(?:[a-z]+\d\w*_)?(response|output|completion|answer|conversation|messages|chat|candidate|text|solution|"
    r"generation|model_output|model_response|assistant|reply|trajectory|summary|human_ref)[_-]?(\d|[a-hjkA-H])"
)
_NAMED_SIDE = re.compile(r"([a-z]+)_?(\d|[a-h])_(response|output|completion|answer|text)")
_DROP = ("chosen_rating", "rejected_rating")


def _sides_of(row: Row) -> tuple[str, str] | None:
    return next(
        (pair for pair in _SIDES if all(isinstance(row.get(x), str | list | dict) for x in pair)),
        None,
    )


def _fits_preference(row: Row) -> str | None:
    pair = _sides_of(row)
    return f"a row has {pair[0]} and {pair[1]}" if pair else None


def _read_preference(row: Row) -> list[Record]:
    pair = _sides_of(row) or _SIDES[0]
    prompt = row_prompt(row, *pair, *_DROP)
    attempts: list[Attempt] = []
    for name in pair:
        attempts += _read_side(row.get(name), name, prompt)
        if not prompt and attempts and isinstance(row.get(pair[1]), str):
            prompt = attempts[0].messages[:-1]  # a text follows the same turns (ms-swift)
    return [Record(_with_tools(attempts, row), row)]


def _read_side(value: Any, name: str, prompt: list[Message]) -> list[Attempt]:
    """Return the attempts of one side; several texts, or several conversations, are several."""
    value = decode(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, list) and len(value) > 1 and dialect_of(value) is None:
        texts = all(isinstance(each, str) for each in value)
        if texts or all(is_conversation(each) for each in value):
            return [
                Attempt(attempt.messages, {"id": f"{name}-{index}"})
                for index, each in enumerate(value)
                for attempt in read_attempts(each, prompt)
            ]
    return [replace(each, ids={"id": name}) for each in read_attempts(value, prompt)[:1]]


def _numbered(row: Row) -> dict[str, str]:
    """Return which fields hold the answers, by the letter or number at the end of their names."""
    by_stem: dict[str, dict[str, str]] = defaultdict(dict)
    for name, value in row.items():
        found = _SIDE.fullmatch(name) or _NAMED_SIDE.fullmatch(name)
        if found and isinstance(value, str | list | dict):
            by_stem[found[1]][found[2].lower()] = name
    return max(by_stem.values(), key=len, default={})


def _fits_sides(row: Row) -> str | None:
    names = list(_numbered(row).values())
    return f"a row has {' and '.join(names[:2])}" if len(names) > 1 else None


def _read_sides(row: Row) -> list[Record]:
    names = _numbered(row)
    prompt = row_prompt(row, *names.values())
    attempts = [
        replace(each, ids={"id": side})
        for side, name in names.items()
        for each in read_attempts(row[name], prompt)[:1]
    ]
    return [Record(_with_tools(attempts, row), row)]


def _with_tools(attempts: list[Attempt], row: Row) -> list[Attempt]:
    tools = tools_of(row)
    return [replace(each, tools=each.tools or tools) for each in attempts]


FORMATS = [
    Format(
        "preference", "preference pairs (DPO): chosen and rejected", _fits_preference,
        _read_preference,
    ),
    Format("sides", "answers side by side: response_a and response_b", _fits_sides, _read_sides),
]  # fmt: skip
