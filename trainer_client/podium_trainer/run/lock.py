"""Lock the folder of a run, so that no two runs write into it."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = ".lock"
log = logging.getLogger("podium_trainer")


class LockError(Exception):
    """The folder cannot be made or is in use; one line with the reason and the remedy."""


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Make the folder, and keep other runs out of it until the block ends.

    The operating system holds the lock for as long as this process lives, so that a killed process
    leaves nothing behind that blocks. The file tells others who holds it.

    Raises:
        LockError: If another process has the lock, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LockError(f"out {out} cannot be used: {error}") from error
    try:
        take_lock(handle, out)
        yield
    finally:
        os.close(handle)


def take_lock(handle: int, out: Path) -> None:
    """Lock an open file and write into it who has it; warn where files cannot be locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            log.warning("%s cannot be locked: let no two runs use it (%s)", out, error)
            return
        owner = os.pread(handle, 400, 0).decode(errors="replace").strip() or "another process"
        raise LockError(
            f"out {out} is in use by {owner}: choose another --out, or wait until that run ends"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
