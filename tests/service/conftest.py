"""Fixtures of the service's tests: databases, and logs that commands do not reconfigure."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.postgres import empty_database, postgres_server


@pytest.fixture(autouse=True)
def _own_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the process's logs, because a command would reconfigure them for all later tests."""
    monkeypatch.setattr("podium_service.telemetry.logs.configure", lambda level: None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a real PostgreSQL; without its wheel skip the test, but fail it in CI."""
    with postgres_server(tmp_path_factory) as server:
        yield str(server.get_uri())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL or path of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "podium.db")
    return empty_database(request.getfixturevalue("postgres"))
