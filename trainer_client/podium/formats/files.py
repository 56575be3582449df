"""Reads the rows of a file: JSON, JSON Lines, CSV, all also compressed by gzip, and Parquet.

To add a form of files: give its first bytes or the end of its name a branch in `load_rows`.
"""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from podium.formats.errors import FormatError

_BINARY = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ\x00": "compressed by xz: unpack it first",
    b"SQLite format 3\x00": "a SQLite database: export rows as JSON Lines",
    b"ARROW1": "an Arrow file: write it as Parquet or JSON Lines",
    b"%PDF": "a PDF document",
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINE = re.compile(r"(.*) at line (\d+) column (\d+)$", re.DOTALL)
# Half a character, which is no text; a second backslash before it would make it one.
_HALF = re.compile(
    rb"(?<!\\)(?:\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][\dA-Fa-f]{2})\\u[dD][c-fC-F]..)"
)
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a file, and where it stands in the words of an error."""

    where: str
    value: Any


def load_file(path: Path) -> list[Place]:
    """Return the rows of a file; `-` is standard input.

    Raises:
        FormatError: If it cannot be read, is binary, is not JSON, or holds nothing.
    """
    if path.is_dir():
        raise FormatError(f"{path}: cannot be read: it is a folder: name one of its files")
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    return load_rows(data, str(path))


def load_rows(data: bytes, name: str) -> list[Place]:
    """Return the rows in the bytes of a file.

    Raises:
        FormatError: As `load_file` does.
    """
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(f"{name}: broken gzip: {error}") from error
    if data.startswith(b"PAR1"):
        rows = _read_parquet(data, name)
    elif delimiter := _DELIMITERS.get(Path(name.removesuffix(".gz")).suffix.lower()):
        rows = _read_csv(_text_bytes(data, name), name, delimiter)
    else:
        rows = _read_json(_text_bytes(data, name), name)
    if not rows:
        raise FormatError(f"{name} holds no groups: write one group a line, or a JSON list")
    return rows


def _text_bytes(data: bytes, name: str) -> bytes:
    """Return the text of a file as UTF-8 without a byte order mark."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding).encode()
            except UnicodeError as error:
                raise FormatError(f"{name}: broken UTF-16: {error}") from error
    for start, about in _BINARY.items():
        if data.startswith(start):
            raise FormatError(f"{name} is {about}")
    if b"\0" in data:
        raise FormatError(f"{name} is binary: write JSON, JSON Lines or Parquet")
    return _HALF.sub(rb"\\ufffd", data.removeprefix(b"\xef\xbb\xbf"))


def _read_parquet(data: bytes, name: str) -> list[Place]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise FormatError(f"{name} is Parquet, which pyarrow reads: pip install pyarrow") from error
    try:
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise FormatError(f"{name}: broken Parquet: {' '.join(str(error).split())}") from error
    return [Place(f"{name}, row {n}", _as_json(row)) for n, row in enumerate(rows, start=1)]


def _as_json(value: Any) -> Any:
    """Return a value with bytes as base64, as JSON has them; images of data sets are bytes."""
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _read_csv(text: bytes, name: str, delimiter: str) -> list[Place]:
    """Return the rows of a table whose first line names its columns; empty cells are left out."""
    head = text.partition(b"\n")[0].decode(errors="replace")
    if delimiter not in head:  # as some spreadsheets write it
        delimiter = next((each for each in ";\t|" if each in head), delimiter)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # an answer may be long
    try:
        lines = csv.DictReader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
        return [
            Place(f"{name}:{lines.line_num}", {x: cell for x, cell in row.items() if x and cell})
            for row in lines
        ]
    except UnicodeError as error:
        raise FormatError(f"{name}: not UTF-8: save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise FormatError(f"{name}: broken CSV: {error}") from error


def _read_json(text: bytes, name: str) -> list[Place]:
    try:
        whole = from_json(text)
    except ValueError as error:
        return _read_values(text, name, error)
    rows = whole if isinstance(whole, list) else [whole]
    if len(rows) == 1 and not isinstance(whole, list):
        return [Place(name, whole)]
    return [Place(f"{name}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _read_values(text: bytes, name: str, whole_fault: ValueError) -> list[Place]:
    """Read one value a line or, if the first line is none, values over several lines each."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    places: list[Place] = []
    for number, line in lines:
        try:
            places.append(Place(f"{name}:{number}", from_json(line)))
        except ValueError as error:
            if not places and len(lines) > 1:
                try:
                    return list(_read_stream(text, name))
                except ValueError:
                    line_number, fault = _describe(whole_fault)
                    raise FormatError(f"{name}:{line_number}: not JSON: {fault}") from error
            raise FormatError(f"{name}:{number}: not JSON: {_describe(error)[1]}") from error
    return places


def _read_stream(text: bytes, name: str) -> Iterator[Place]:
    """Yield values that follow each other without a list around them, as `jq` prints them."""
    decoder, source, line = json.JSONDecoder(), text.decode(), 1
    at = _skip_space(source, 0)
    line += source.count("\n", 0, at)
    while at < len(source):
        try:
            _, end = decoder.raw_decode(source, at)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        yield Place(f"{name}:{line}", from_json(source[at:end]))
        after = _skip_space(source, end)
        line += source.count("\n", at, after)
        at = after


def _skip_space(source: str, at: int) -> int:
    space = _SPACE.match(source, at)
    assert space  # the pattern also matches no space
    return space.end()


def _describe(error: ValueError) -> tuple[int, str]:
    """Return the line of a fault of JSON, and the fault with its column."""
    if found := _LINE.fullmatch(str(error)):
        return int(found[2]), f"{found[1]} at column {found[3]}"
    return 1, " ".join(str(error).split())[:200]
