"""For all tests: asyncio, no socket that leaves this machine, Ctrl-C that works in the background
of a shell, and a garbage collector that leaves alone what the collection of the tests made."""

import gc
import signal
import socket
import threading
from typing import Any

import hypothesis
import pytest

# A shell has what it starts in the background ignore Ctrl-C, and so would all processes of tests.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No limit on one example: a busy machine is not a bug.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Importing all modules makes millions of objects that live to the end, and the collector walked
# them again and again: off until the tests are collected, it then looks only at newer objects, and
# seldom, because a look at all takes half a second, which tests of CPU time would count.
gc.disable()
gc.set_threshold(10_000, 10, 10)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that is not to loopback."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
