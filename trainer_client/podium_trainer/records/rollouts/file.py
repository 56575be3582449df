"""Append the lines of each step to `rollouts.jsonl.zst`, and read them back.

Each step is a zstd frame of its own, and frames may follow each other, so that `zstdcat` reads the
file while the run goes on. A run that is killed leaves a file that reads to its last whole step;
the frame behind that, if there is a part of one, is cut off before a resumed run goes on.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import zstandard

from podium_trainer.records.metrics import MetricsError

NAME = "rollouts.jsonl.zst"
CHUNK_BYTES = 65_536


class RolloutsFile:
    """The file of a run; `log` returns when the step is on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._compressor = zstandard.ZstdCompressor(write_checksum=True)
        self._last_step: int | None = None

    def log(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append a frame with the lines of a step; one without lines, or with a frame, gets none.

        Raises:
            MetricsError: If it cannot be written.
        """
        if not lines or step == self._last_step:
            return
        content = "".join(json.dumps(line, default=to_plain) + "\n" for line in lines)
        frame = memoryview(self._compressor.compress(content.encode()))
        try:
            while frame:
                frame = frame[self._file.write(frame) :]
            os.fsync(self._file.fileno())
            self._last_step = step
        except OSError as error:
            raise MetricsError(
                f"{self.path} cannot be written: {error}: make room, then add --resume"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # `log` has reported the step that could not be written
            self._file.close()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of all whole steps, in the order in which they were done."""
    for _, content in read_frames(path):
        yield from map(json.loads, content.splitlines())


def read_frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the content of each whole frame, and the place in the file where the frame ends.

    What follows the last whole frame is a part of one, or damaged, and is left out.
    """
    with path.open("rb") as file:
        end, rest = 0, b""
        while True:
            decoder, parts, size = zstandard.ZstdDecompressor().decompressobj(), [], 0
            while not decoder.eof:
                chunk, rest = rest or file.read(CHUNK_BYTES), b""
                size += len(chunk)
                try:
                    parts.append(decoder.decompress(chunk))
                except zstandard.ZstdError:
                    return
                if not chunk:
                    return
            rest = decoder.unused_data
            end += size - len(rest)
            yield end, b"".join(parts)


def drop_steps_after(path: Path, step: int) -> None:
    """Cut off the frames after a step, which a resumed run writes again, and a part of a frame."""
    if not path.is_file():
        return
    kept = 0
    for end, content in read_frames(path):
        if json.loads(content.partition(b"\n")[0])["step"] > step:
            break
        kept = end
    with path.open("r+b") as file:
        file.truncate(kept)
        os.fsync(file.fileno())


def to_plain(value: object) -> object:
    """Return what JSON can write for a message of another type than `dict`."""
    return dict(value) if isinstance(value, Mapping) else str(value)
