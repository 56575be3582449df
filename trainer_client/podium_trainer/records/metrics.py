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
        self._file = path.open("ab", buffering=0)
        self._last_step: int | None = None

    def log(self, step: int, row: Row) -> None:
        """Write a row whole or not at all; a step that has a row keeps it.

        Raises:
            MetricsError: If it cannot be written.
        """
        if step == self._last_step:
            return
        line = (json.dumps({"step": step} | dict(row)) + "\n").encode()
        end = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
            self._last_step = step
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), end)
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
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole, or leave the one that is there as it is.

    Raises:
        OSError: If it cannot be written.
    """
    partial_file = path.with_name(f".{path.name}")
    try:
        with partial_file.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial_file.replace(path)
    except OSError:
        partial_file.unlink(missing_ok=True)
        raise
