"""Make a request to a server while the trainer does its part of the same thing.

Both sides of a collective wait for each other, so that neither may hold up the other's start. What
torch does runs on a daemon thread, because torch cannot always be made to end it.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

import anyio

from podium.weights.link import LinkError

_T = TypeVar("_T")
ANSWER_S = 10.0  # after the trainer's part has failed: the server's answer says more


async def request_beside(
    request: Callable[[], Awaitable[object]], work: Awaitable[_T], limit_s: float
) -> _T:
    """Make a request, and return the result of the work beside it.

    Args:
        request: must end in a limit of its own.
        work: is begun at once, and cancelled if the request fails.
        limit_s: the seconds that the work may still take after the answer.

    Raises:
        SamplerError: If the request fails, whatever becomes of the work.
        LinkError: If the work fails or does not end.
    """
    result = asyncio.ensure_future(work)
    try:
        with anyio.CancelScope() as scope:

            def end_request_soon(done: asyncio.Future[_T]) -> None:
                if not done.cancelled() and done.exception():
                    scope.deadline = anyio.current_time() + ANSWER_S

            result.add_done_callback(end_request_soon)
            await request()
        try:
            with anyio.fail_after(limit_s):
                return await result
        except TimeoutError as error:
            raise LinkError(f"the trainer's part did not end within {limit_s:g} s") from error
    finally:
        result.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([result])


def in_daemon(work: Callable[[], _T]) -> "asyncio.Future[_T]":
    """Call a function on a daemon thread, which goes on if the future is cancelled."""
    result: Future[_T] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            result.set_exception(error)

    threading.Thread(target=run, name="weights", daemon=True).start()
    return asyncio.wrap_future(result)
