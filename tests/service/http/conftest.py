"""Fixtures of the HTTP tests: a client, and the service's log."""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.service.helpers import client, service


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service without a judges file, which compares with a reference."""
    async with service(tmp_path) as opened, client(opened) as http:
        yield http


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Capture the log lines, because printing a bug's traceback in colour takes ten seconds."""
    with capture_logs() as lines:
        yield lines
