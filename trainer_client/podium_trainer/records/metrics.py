"""Write the numbers of a run: one JSON object per step in each of two files.

`metrics.jsonl` holds the numbers that do not depend on speed: they are the same, bit for bit,
however often the run was killed and resumed. `timings.jsonl` holds seconds, tokens per second and
the judge's usage.

To add a listener, such as a dashboard: write a class with `log` and `close`, give it a setting in
`config.LogConfig`, and open it in `trackers.open_trackers`.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

Row = Mapping[str, float | int | str | None]


class MetricsError(Exception):
    """A row cannot be written; the message is one line that says why and what to do."""


class Listener(Protocol):
    """An object that gets the numbers of each step."""

    def log(self, step: int, row: Row) -> None: ...

    def close(self) -> None: ...


class JsonlFile:
    """A file with one row per step; `log` returns when the row is on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, row: Row) -> None:
        try:
            self._file.write(json.dumps({"step": step} | dict(row)) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MetricsError(
                f"{self.path} cannot be written: {error}: make room, then add --resume"
            ) from error

    def close(self) -> None:
        with suppress(OSError):  # `log` has reported the row that could not be written
            self._file.close()


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read the complete rows of a file; a truncated last line does not count."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def drop_rows_after(path: Path, step: int) -> None:
    """Delete the rows after a step, which a resumed run writes again; do all of it or nothing."""
    rows = [row for row in read_rows(path) if row["step"] <= step]
    partial_file = path.with_suffix(".tmp")
    with partial_file.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    partial_file.replace(path)
