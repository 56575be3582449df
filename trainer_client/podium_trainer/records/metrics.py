"""What a run leaves behind: one JSON object per step in two files, and whoever else listens.

`metrics.jsonl` holds what the run is: the same, bit for bit, however often it was killed and
resumed. `timings.jsonl` holds what it took: seconds, tokens a second, the judge's usage.

To add a listener (a dashboard, a tracker): write a class with `log` and `close` and give it a
branch in `trackers.open_trackers`.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

Row = Mapping[str, float | int | str | None]


class MetricsError(Exception):
    """A row cannot be written; one line that says why and what to do."""


class Listener(Protocol):
    """Hears every step's numbers."""

    def log(self, step: int, row: Row) -> None: ...

    def close(self) -> None: ...


class JsonlFile:
    """Rows of a file, one per step, each written through before `log` returns."""

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
        with suppress(OSError):  # a row that could not be written was refused already
            self._file.close()


def read_rows(path: Path) -> list[dict[str, float]]:
    """The whole rows of a file; a last line that was cut off does not count."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def drop_rows_after(path: Path, step: int) -> None:
    """Forget the rows of steps that a resumed run does again; all of it happens or none."""
    kept = [row for row in read_rows(path) if row["step"] <= step]
    growing = path.with_suffix(".tmp")
    with growing.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in kept)
        file.flush()
        os.fsync(file.fileno())
    growing.replace(path)
