"""Make a call a second time if the first one is late, and take the first answer.

A few hedged requests cut the slowest answers: Dean and Barroso 2013, "The Tail at Scale".
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from podium_service.telemetry.tracebacks import drop_locals_on_error

T = TypeVar("T")
FirstSent = asyncio.Future[str]  # the base URL of the first call, once that is sent


@drop_locals_on_error
async def hedge(call: Callable[[FirstSent], Coroutine[Any, Any, T]], after_s: float | None) -> T:
    """Return the first result of `call`, made a second time `after_s` after the first was sent.

    The other call is cancelled. If both fail, the error of the first is raised. `call` sets its
    argument when it sends the first one; `after_s` is None for no second call.
    """
    first_sent: FirstSent = asyncio.get_running_loop().create_future()
    if after_s is None:
        return await call(first_sent)
    tasks = [asyncio.create_task(call(first_sent))]
    try:
        sent_or_ended: set[asyncio.Future[Any]] = {tasks[0], first_sent}
        await asyncio.wait(sent_or_ended, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait(tasks, timeout=after_s)
        if not done:
            tasks.append(asyncio.create_task(call(first_sent)))
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.exception():
                    return task.result()
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
