"""Markdown tables, and the settings of a pydantic model as rows of one."""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; vertical bars and line breaks in cells are made harmless."""
    lines = [_row(heads), "|" + "---|" * len(heads)]
    return "\n".join([*lines, *map(_row, rows)]) + "\n"


def setting_row(name: str, field: FieldInfo) -> tuple[str, str, str]:
    """Return a setting's name, its default and its description."""
    meaning = field.description or ""
    return f"`{field.alias or name}`", default_of(field), meaning[:1].upper() + meaning[1:]


def default_of(field: FieldInfo) -> str:
    """Return a field's default as it would be written in YAML."""
    if field.is_required():
        return "required"
    return yaml_of(field.get_default(call_default_factory=True))


def yaml_of(value: Any) -> str:
    """Return a value as short YAML, in a code span; an unset one is a dash."""
    if value is None or value in ({}, ""):
        return "–"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_plain(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value.value if isinstance(value, Enum) else value)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"\s+", " ", each).replace("|", r"\|") for each in cells) + " |"
