"""Finds the rows in what a file holds: lists under a name, tables by column, one conversation.

To add a name under which files hold their rows: put it into `_WRAPPERS`. To add a form of tables:
give it a branch in `_read_table`.
"""

from collections.abc import Sequence
from typing import Any

from podium.formats.attempts import is_conversation
from podium.formats.chats import read_chat
from podium.formats.fields import COMPLETIONS, LISTS, PROMPTS, dicts
from podium.formats.files import Place
from podium.formats.rows import FORMATS

_WRAPPERS = ("data", "rows", "groups", "items", "results", "samples", "examples", "records",
             "traces", "observations", "spans", "simulations", "conversations", "train", "test",
             "batch", "trajectory_groups", "runs", "instances")  # fmt: skip


def unwrap(places: Sequence[Place]) -> Sequence[Place]:
    """Return the rows of a file, each with its place."""
    values = _list_items([place.value for place in places])
    if is_conversation(values):
        return [Place(places[0].where, {"messages": values})]
    if len(values) != 1 or not isinstance(values[0], dict):
        return places
    value, where = values[0], places[0].where
    if rows := _read_table(value):
        return _placed(where, "row", rows)
    if any(each.fits(value) for each in FORMATS.values()):
        return places
    for name in _WRAPPERS:
        inner = value.get(name)
        if isinstance(inner, list) and inner and len(dicts(inner)) == len(inner):
            return _placed(where, name, inner)
        if isinstance(inner, dict) and any(isinstance(inner.get(x), list) for x in _WRAPPERS):
            return unwrap([Place(f"{where}, {name}", inner)])
    return places


def _list_items(values: list[Any]) -> list[Any]:
    """Return the items of a session of Codex, whose lines hold other things, too."""
    items = [each["payload"] for each in dicts(values) if each.get("type") == "response_item"
             and isinstance(each.get("payload"), dict)]  # fmt: skip
    return [each for each in items if read_chat([each]) is not None] or values


def _placed(where: str, name: str, rows: Sequence[Any]) -> list[Place]:
    return [Place(f"{where}, {name} {number}", row) for number, row in enumerate(rows, start=1)]


def _read_table(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a table that names its columns; none for other objects."""
    columns, rows = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(rows, list) and rows:  # W&B, pandas' `split`
        return [
            dict(zip(map(str, columns), row, strict=False)) for row in rows if isinstance(row, list)
        ]
    if not value.keys() & {*COMPLETIONS, *LISTS} or not value.keys() & {*PROMPTS}:
        return []
    cells = [
        list(each.values()) if isinstance(each, dict) and all(map(str.isdecimal, each)) else each
        for each in value.values()
    ]  # pandas names the cells of a column by the index of their rows
    if not all(isinstance(each, list) and len(each) == len(cells[0]) > 0 for each in cells):
        return []
    if not all(_is_cell(cell) for column in cells for cell in column):
        return []  # a prompt and a completion that are lists of messages
    return [dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)]


def _is_cell(value: Any) -> bool:
    return not isinstance(value, dict) or read_chat([value]) is None
