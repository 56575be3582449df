"""A second call where the first one is late; the first answer counts.

"The Tail at Scale", Dean and Barroso 2013: a few hedged requests cut the slowest answers.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from podium_service.tracebacks import drop_locals_on_error

T = TypeVar("T")


class Sent:
    """Whether a call is on its way, and where to: a second one then avoids that endpoint."""

    def __init__(self) -> None:
        self.base_url: str | None = None
        self.event = asyncio.Event()

    def to(self, base_url: str) -> None:
        self.base_url = base_url
        self.event.set()


@drop_locals_on_error
async def hedged(ask: Callable[[Sent], Coroutine[Any, Any, T]], after_s: float | None) -> T:
    """What `ask` gives, asked a second time once the first call has been out for `after_s`.

    The other call is cancelled. If both fail, the first one's error is raised.
    """
    sent = Sent()
    if after_s is None:
        return await ask(sent)
    tasks = [asyncio.create_task(ask(sent))]
    departed = asyncio.create_task(sent.event.wait())
    try:
        await asyncio.wait({tasks[0], departed}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait(tasks, timeout=after_s)
        if not done:
            tasks.append(asyncio.create_task(ask(sent)))
        return await _first_good(tasks)
    finally:
        departed.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(departed, *tasks, return_exceptions=True)


@drop_locals_on_error
async def _first_good(tasks: list[asyncio.Task[T]]) -> T:
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.exception():
                return task.result()
    return tasks[0].result()
