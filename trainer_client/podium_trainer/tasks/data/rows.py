"""Read the rows of a file; its ending says of which form it is.

To add a form: write a function from a path to rows, and enter it in READERS under the ending.
"""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium_trainer.tasks.task import TaskError

MAX_CELL = 2**31 - 1  # characters; the module's own limit would refuse a file for one long prompt


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        location: where it is, for errors, such as `prompts.jsonl:7`.
        key: what tells it from the other rows of its file: its number.
        values: the value of each column.
        file: what tells its file from the others of a folder; empty if there are no others.
    """

    location: str
    key: str
    values: dict[str, Any]
    file: str = ""


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file.

    Raises:
        TaskError: If the file cannot be read, or a row is no object.
    """
    reader = READERS.get(path.suffix.lower())
    if not path.exists():
        raise TaskError(
            f"task.options.path {str(path)!r} cannot be read: there is no such file or folder here,"
            " and a dataset of the Hugging Face hub has a name such as openai/gsm8k"
        )
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
    """Return the rows of a file that is one JSON list of objects, or has one object a line."""
    text = read_text(path)
    with suppress(ValueError, RecursionError):
        if isinstance(json.loads(text.lstrip().partition("\n")[0]), dict):
            return read_jsonl(path)
    return read_json_list(text, path)


def read_json_list(text: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a text that is one JSON list of objects."""
    values = parse_json(text, str(path))
    if not isinstance(values, list):
        raise TaskError(f"{path} must be a list of objects, or have one object a line")
    for number, value in enumerate(values, 1):
        yield Row(f"{path}, row {number}", str(number), value)


def read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows of a file with commas, whose first line names the columns."""
    csv.field_size_limit(MAX_CELL)
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
