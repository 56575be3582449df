"""For the service's tests: databases, and commands that leave the process's logs as they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.postgres import emptied, postgres_server


@pytest.fixture(autouse=True)
def _own_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up the process's logs for good, and the next test reads its own."""
    monkeypatch.setattr("podium_service.telemetry.logs.configure", lambda level: None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL; missing on a laptop it is a skip, in CI a failure."""
    with postgres_server(tmp_path_factory) as server:
        yield str(server.get_uri())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it."""
    if request.param == "sqlite":
        return str(tmp_path / "podium.db")
    return emptied(request.getfixturevalue("postgres"))
