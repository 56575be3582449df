"""Make a request to a server while a daemon thread does the trainer's part of the same thing.

Both sides of a collective wait for each other, so that neither may hold up the other's start. The
thread is a daemon because torch cannot always be made to end what it does.
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
    request: Callable[[], Awaitable[object]], work: Callable[[], _T], limit_s: float
) -> _T:
    """Make a request, and return what the work beside it returns.

    Args:
        request: must end in a limit of its own.
        work: is called on a thread, at once.
        limit_s: the seconds that the work may still take after the answer.

    Raises:
        SamplerError: If the request fails, whatever becomes of the work.
        LinkError: If the work fails or does not end.
    """
    result = in_daemon(work)
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


def in_daemon(work: Callable[[], _T]) -> "asyncio.Future[_T]":
    """Call a function on a daemon thread."""
    result: Future[_T] = Future()

    def run() -> None:
        result.set_running_or_notify_cancel()
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001
            result.set_exception(error)

    threading.Thread(target=run, name="weights", daemon=True).start()
    return asyncio.wrap_future(result)
