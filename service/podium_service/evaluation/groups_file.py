"""A file of groups -> JSON values: one object, a list of them, or one a line."""

import sys
from pathlib import Path
from typing import Any

import orjson

from podium_service.errors import MalformedJSON


def read_groups(path: Path) -> list[Any]:
    """The groups in a file; `-` is standard input. They are validated when they are ranked.

    Raises:
        MalformedJSON: If the file cannot be read or a line is not JSON; names the line.
    """
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise MalformedJSON(f"{path}: cannot be read: {error.strerror}") from error
    try:
        whole = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        lines = _lines(text)
        if len(lines) > 1 and not _is_json(lines[0][1]):  # one value over many lines, then
            raise MalformedJSON(f"{path}:{error.lineno}: not JSON: {error}") from error
        return [_line(path, number, line) for number, line in lines]
    return whole if isinstance(whole, list) else [whole]


def _lines(text: bytes) -> list[tuple[int, bytes]]:
    return [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _line(path: Path, number: int, line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"{path}:{number}: not JSON: {error}") from error
