"""Groups, files of groups and the output of commands, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

from tests.fakes import by_length, scores
from tests.service.helpers import group
from tests.service.process import Finished

GOOD = scores(by_length)
WORDS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 1}]}


def answers(*texts: str, **fields: Any) -> dict[str, Any]:
    """Return a group that the service ranks without a judges file; the text "5" is right."""
    return group(*texts, reference="5", **fields)


def write_groups(path: Path, *groups: Any) -> str:
    """Write groups into a file, one a line, and return its name."""
    path.write_text("".join(json.dumps(each) + "\n" for each in groups))
    return path.name


def parse_lines(finished: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in finished.out.splitlines()]


def assert_one_line(finished: Finished, *words: str) -> None:
    """Assert that a command failed with one line on stderr that holds the words."""
    assert finished.code == 1
    assert finished.out == ""
    [line] = finished.err.splitlines()
    assert line.startswith("podium: ")
    for word in words:
        assert word in line
