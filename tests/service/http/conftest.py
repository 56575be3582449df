"""For the tests of HTTP: a client, and the service's log."""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.service.helpers import client, service


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service without a judges file: it compares with a reference."""
    async with service(tmp_path) as opened, client(opened) as http:
        yield http


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log lines of the test; printing a bug's traceback in colour would take ten seconds."""
    with capture_logs() as lines:
        yield lines
