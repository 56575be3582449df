"""Fixtures for the tests of the reward client."""

import socket

import pytest

from podium import retry


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PODIUM_URL", raising=False)
    monkeypatch.delenv("PODIUM_API_KEY", raising=False)


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the first pause so long that no deadline leaves time for a second attempt."""
    monkeypatch.setattr(retry, "FIRST_BACKOFF_S", 1e6)


@pytest.fixture
def free_url() -> str:
    """Return a loopback URL where nothing listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
