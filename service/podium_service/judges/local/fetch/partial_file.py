"""A file that grows part by part, so that a fetch that was killed goes on where it ended.

Its name tells how many parts it has, and of how many bytes: MODEL.gguf.7-359661568.partial. It is
renamed once a part is complete, and what a killed process has written beyond that is cut off.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_NAME = re.compile(r"(.+)\.(\d+)-(\d+)\.partial")


class PartialFile:
    """The parts of `target` that are there."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.num_parts = self.size = 0
        for path in target.parent.glob("*.partial"):
            found = _NAME.fullmatch(path.name)
            if found and found[1] == target.name and path.stat().st_size >= int(found[3]):
                self.num_parts, self.size = int(found[2]), int(found[3])

    @property
    def path(self) -> Path:
        """Where the parts are now."""
        name = f"{self._target.name}.{self.num_parts}-{self.size}.partial"
        return self._target.with_name(name)

    @contextmanager
    def append_part(self) -> Iterator[BinaryIO]:
        """Open the file for one more part, which counts once it has been written whole."""
        with self.path.open("ab") as stream:
            stream.truncate(self.size)
            yield stream
        before, size = self.path, self.path.stat().st_size
        self.num_parts, self.size = self.num_parts + 1, size
        before.rename(self.path)

    def discard(self) -> None:
        """Remove the parts."""
        self.path.unlink(missing_ok=True)
        self.num_parts = self.size = 0
