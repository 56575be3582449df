"""The tables of a run's numbers, from the `Attributes` of the dataclasses that make its rows."""

import re
from dataclasses import fields
from inspect import cleandoc
from typing import Any

from docs.generate.tables import table
from podium_trainer.records.rows.metrics import METRICS
from podium_trainer.records.rows.timings import Timings

_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.+)$", re.DOTALL)


def step_metrics() -> str:
    """Return every number of `metrics.jsonl`, by what it is about."""
    return "\n".join(f"### {_title(rows)}\n\n{_table(rows)}" for rows in METRICS)


def step_timings() -> str:
    """Return every number of `timings.jsonl`."""
    return _table(Timings)


def attributes(rows: type[Any]) -> dict[str, str]:
    """Return what a dataclass's docstring says of each field.

    Raises:
        ValueError: If it says nothing of a field, or something of a name that is none.
    """
    _, _, text = cleandoc(rows.__doc__ or "").partition("\nAttributes:\n")
    entries = re.split(r"\n(?= {4}\w)", text.partition("\n\n")[0].rstrip())
    told: dict[str, str] = {}
    for entry in entries:
        if match := _ENTRY.match(" ".join(entry.split())):
            told |= dict.fromkeys(match[1].split(", "), match[2])
    names = [field.name for field in fields(rows)]
    if sorted(told) != sorted(names):
        wrong = sorted(set(told) ^ set(names))
        raise ValueError(f"{rows.__name__}: its Attributes and its fields differ in {wrong}")
    return {name: told[name] for name in names}


def _title(rows: type[Any]) -> str:
    return cleandoc(rows.__doc__ or "").partition("\n")[0].rstrip(".").partition(";")[0]


def _table(rows: type[Any]) -> str:
    told = attributes(rows)
    return table(("name", "meaning"), [(f"`{name}`", _sentence(told[name])) for name in told])


def _sentence(text: str) -> str:
    return text.rstrip(".").replace("|", "\\|")
