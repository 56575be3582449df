"""Read the rows of a file; its ending says of which form it is.

To add a form: write a function from a path to rows, and enter it in READERS under the ending.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium_trainer.tasks.task import TaskError


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        location: where it is, for errors, such as `prompts.jsonl:7`.
        key: what tells it from the other rows of its file: its number.
        values: the value of each column.
    """

    location: str
    key: str
    values: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file.

    Raises:
        TaskError: If the file cannot be read, or a row is no object.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        endings = ", ".join(READERS)
        raise TaskError(f"{path} is of no known form: its name must end with one of {endings}")
    try:
        rows = list(reader(path))
    except UnicodeError as error:
        raise TaskError(
            f"task.options.path {str(path)!r} is not UTF-8 ({error}): save it in that encoding"
        ) from error
    except OSError as error:
        raise TaskError(f"task.options.path {str(path)!r} cannot be read: {error}") from error
    for row in rows:
        if not isinstance(row.values, dict):
            raise TaskError(f"{row.location}: a row is an object of columns and values")
    return rows


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a file with one JSON object a line; empty lines are passed over."""
    # Not `splitlines`, because a JSON string may hold U+2028 and other line separators.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield Row(f"{path}:{number}", str(number), parse_json(line, f"{path}:{number}"))


def read_json(path: Path) -> Iterator[Row]:
    """Yield the rows of a file that is one JSON list of objects."""
    values = parse_json(read_text(path), str(path))
    if not isinstance(values, list):
        raise TaskError(f"{path} must be a list of objects; name it .jsonl if it has one a line")
    for number, value in enumerate(values, 1):
        yield Row(f"{path}, row {number}", str(number), value)


def read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows of a file with commas, whose first line names the columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for number, values in enumerate(reader, 1):
                if None in values or None in values.values():
                    raise TaskError(f"{path}:{reader.line_num}: has not one value for each column")
                yield Row(f"{path}:{reader.line_num}", str(number), values)
        except csv.Error as error:
            raise TaskError(f"{path}:{reader.line_num} is not CSV: {error}") from error


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises:
        TaskError: If pyarrow is not installed, or the file is of another form.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise TaskError(
            f"{path} is a Parquet file, which needs pyarrow: in the clone: pip install '.[data]'"
        ) from error
    try:
        table = parquet.read_table(path, partitioning=None)
        for number, values in enumerate(table.to_pylist(), 1):
            yield Row(f"{path}, row {number}", str(number), values)
    except ArrowException as error:
        words = " ".join(str(error).split())
        raise TaskError(f"{path} is not a Parquet file that can be read: {words}") from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def read_text(path: Path) -> str:
    """Read a text in UTF-8, with or without a byte order mark."""
    return path.read_text(encoding="utf-8-sig")


def parse_json(text: str, location: str) -> Any:
    """Parse a JSON value; raise a TaskError that starts with its location."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be tokenized
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{location} is not JSON: {error}") from error
    return value
