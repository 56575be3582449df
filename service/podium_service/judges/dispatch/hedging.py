"""Make a call a second time if the first one is late, and take the first answer.

A few hedged requests cut the slowest answers: Dean and Barroso 2013, "The Tail at Scale".
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from podium_service.tracebacks import drop_locals_on_error

T = TypeVar("T")


class SendState:
    """Whether one of the two calls has been sent, and where, so that the second one goes elsewhere.

    Attributes:
        base_url: where the last one was sent; None before.
        sent: set once one has been sent.
    """

    def __init__(self) -> None:
        self.base_url: str | None = None
        self.sent = asyncio.Event()

    def record(self, base_url: str) -> None:
        """Note that a call is sent now."""
        self.base_url = base_url
        self.sent.set()


@drop_locals_on_error
async def hedge(call: Callable[[SendState], Coroutine[Any, Any, T]], after_s: float | None) -> T:
    """Return the first result of `call`, made a second time `after_s` after the first was sent.

    The other call is cancelled. If both fail, the error of the first is raised.

    Args:
        call: makes the call, and records in the state when it is sent.
        after_s: how long the first call has; None for no second call.
    """
    state = SendState()
    if after_s is None:
        return await call(state)
    tasks = [asyncio.create_task(call(state))]
    first_sent = asyncio.create_task(state.sent.wait())
    try:
        await asyncio.wait({tasks[0], first_sent}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait(tasks, timeout=after_s)
        if not done:
            tasks.append(asyncio.create_task(call(state)))
        return await _first_success(tasks)
    finally:
        first_sent.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(first_sent, *tasks, return_exceptions=True)


@drop_locals_on_error
async def _first_success(tasks: list[asyncio.Task[T]]) -> T:
    """Return the result of the first task to succeed; if none does, raise the first one's error."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.exception():
                return task.result()
    return tasks[0].result()
