"""Run tests of pace on an event loop whose clock does not count the work of the machine.

A test that compares rates of calls would otherwise find that a busy machine, on which the work of
a call takes longer than the answer is delayed, is a slow server. Client and server share the loop
here. So while data is on its way between them it has work to do, and its clock stands; when nothing
is left to do but to wait for a timer, its clock jumps there.

A module uses it by a fixture of its own:

    @pytest.fixture
    def anyio_backend() -> Backend:
        return IDLE_CLOCK
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

_ON_THE_WAY_S = 0.001  # what bytes may take over loopback


class _IdleSelector(selectors.BaseSelector):
    """A selector that waits for timers by moving a clock, and for anything else as it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self._inner = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return self._inner.select(None)
        events = self._inner.select(min(timeout, _ON_THE_WAY_S))
        if not events:
            self.now += max(0.0, timeout)
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


class IdleClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only while all its tasks wait."""

    def __init__(self) -> None:
        self._idle = _IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now


Backend = tuple[str, dict[str, Any]]
IDLE_CLOCK: Backend = ("asyncio", {"loop_factory": IdleClockLoop})
