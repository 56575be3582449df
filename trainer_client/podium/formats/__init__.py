"""Reads groups of attempts from the files of other tools: chat logs, data sets, rollouts, traces.

`read_file(path).groups` are bodies of `POST /rank`, and `.trajectory_groups` what the client ranks.
Every function is pure, but for the reading of the file. `rows` holds the forms of rows, `chats` the
forms of messages; their docstrings say how to add one.
"""

from podium.formats.errors import FormatError
from podium.formats.reading import AUTO, EXAMPLE, Reading, read_file, read_rows
from podium.formats.rows import FORMATS

__all__ = ["AUTO", "EXAMPLE", "FORMATS", "FormatError", "Reading", "read_file", "read_rows"]
