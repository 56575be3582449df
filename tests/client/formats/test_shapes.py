"""Rows of every listed form are told by their fields, and become one group."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docs.generate.files import FILES, File
from podium.formats import FORMATS, FormatError, read_rows
from podium.formats.fields import CHATS, COMPLETIONS, GROUPS, LISTS, PROMPTS

_NAMES = sorted(
    {*CHATS, *COMPLETIONS, *GROUPS, *LISTS, *PROMPTS}
    | {name for file in FILES for row in file.rows if isinstance(row, dict) for name in row}
    | {"role", "content", "type", "parts", "from", "value", "message", "data", "kwargs", "lc"}
    | {"summary", "tool_calls", "tools", "attributes", "events", "name", "key", "body", "text"}
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_WORDS = st.sampled_from(
    ["user", "assistant", "human", "ai", "message", "function_call", "reasoning", "tool_use",
     "tool_result", "GENERATION", "text", "[{}]", '[{"role": "user"}]', "{}", "gen_ai.choice"]
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS | _WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.what)
def test_a_listed_form_is_told_and_makes_one_group(file: File) -> None:
    reading = read_rows(file.rows)
    assert reading.formats == {file.name: len(file.rows)}
    assert reading.faults == []
    [group] = reading.trajectory_groups
    assert len({trajectory.id for trajectory in group.trajectories}) == 2
    for trajectory, said in zip(group.trajectories, ("42", "41"), strict=True):
        assert said in json.dumps(trajectory.messages[-1])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.what)
def test_a_list_of_rows_in_one_row_is_one_group(file: File) -> None:
    [group] = read_rows([file.rows]).groups
    assert len(group["trajectories"]) == 2


def test_a_pair_keeps_what_belongs_to_its_group() -> None:
    pair = {"task": "Add.", "a": "5", "b": "6", "winner": "a", "reference": "5", "source": "web"}
    [group] = read_rows([pair]).groups
    assert {name: group[name] for name in group if name != "trajectories"} == {
        "task": "Add.", "reference": "5"
    }  # fmt: skip


def test_every_format_has_a_listed_form() -> None:
    missing = FORMATS.keys() - {file.name for file in FILES}
    assert missing <= {"genai"}  # told by parts with types; a span's messages are of this form


@given(st.lists(_VALUES, min_size=1, max_size=4))
@example([{"trajectories": 1}])
def test_any_json_makes_groups_or_one_typed_error(rows: list[Any]) -> None:
    try:
        reading = read_rows(rows)
    except FormatError as error:
        _require_one_line(error)
        return
    assert reading.groups
    assert all(isinstance(group, dict) for group in reading.groups)
    assert reading.summary


@given(
    st.sampled_from(FILES),
    st.integers(0, 10**6),
    st.sampled_from(_NAMES),
    _VALUES,
    st.sampled_from(["auto", *FORMATS]),
)
def test_a_spoilt_row_makes_groups_or_one_typed_error(
    file: File, place: int, name: str, value: Any, format_name: str
) -> None:
    rows = json.loads(json.dumps(file.rows))
    holders = _objects(rows)
    holder = holders[place % len(holders)]
    holder[sorted(holder)[place % len(holder)] if place % 2 and holder else name] = value
    try:
        assert read_rows(rows, format_name, group_by=name if place % 3 == 0 else None).groups
    except FormatError as error:
        _require_one_line(error)


def _require_one_line(error: FormatError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return all objects in a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    below = [found for each in inner for found in _objects(each)]
    return [value, *below] if isinstance(value, dict) else below
