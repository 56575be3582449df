"""The folder in which the workers of one service count together, and what killed ones left."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

PREFIX = "podium-workers-"  # podium-metrics-* of older versions are not locked


@contextmanager
def metrics_folder() -> Iterator[tuple[str, int]]:
    """A new folder, and the descriptor that holds it: whoever inherits that holds it, too. When all
    of them have ended, however they did, the next service to start may remove it."""
    _remove_what_was_left()
    with TemporaryDirectory(prefix=PREFIX) as folder, _held(Path(folder)) as descriptor:
        yield folder, descriptor


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    """Lock a folder; the kernel lets go of it once no process has the descriptor any more.

    Raises:
        OSError: If others hold it, or it is not ours to open.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_what_was_left() -> None:
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if not any(folder.iterdir()):  # it may be new, and held in a moment
                continue
            with _held(folder):
                rmtree(folder, ignore_errors=True)
