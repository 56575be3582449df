"""For the service's tests: commands that run in process leave the logs as they are."""

import pytest


@pytest.fixture(autouse=True)
def _own_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up the process's logs for good, and the next test reads its own."""
    monkeypatch.setattr("service.logs.configure", lambda level: None)
