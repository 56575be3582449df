"""Run many small requests in few batches: what arrives during one batch goes in the next."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_ITEMS = 500  # in one batch, because one statement names them all


class Batcher(Generic[Item, Result]):
    """Runs items in batches, one batch at a time.

    Args:
        run: takes the items of a batch, and returns one result or error for each, in order. An
            error that it raises is raised to all waiters of the batch.
    """

    def __init__(
        self, run: Callable[[list[Item]], Coroutine[Any, Any, Sequence[Result | Exception]]]
    ) -> None:
        self._run = run
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[Sequence[Result | Exception]] | None = None

    def put(self, item: Item) -> asyncio.Future[Result]:
        """Queue one item. An item whose future is cancelled before its batch starts is dropped."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if not self._waiting and self._running is None:
            loop.call_soon(self._start)
        self._waiting.append((item, future))
        return future

    def _start(self) -> None:
        """Start the next batch, if an item waits."""
        wanted = [each for each in self._waiting if not each[1].done()]
        batch, self._waiting = wanted[:_MAX_ITEMS], wanted[_MAX_ITEMS:]
        self._running = None
        if batch:
            items, futures = zip(*batch, strict=True)
            self._running = asyncio.create_task(self._run(list(items)))
            self._running.add_done_callback(partial(self._finish, futures))

    def _finish(
        self,
        futures: Sequence[asyncio.Future[Result]],
        task: asyncio.Task[Sequence[Result | Exception]],
    ) -> None:
        self._start()
        _settle(task, futures)


def _settle(
    task: asyncio.Task[Sequence[Result | Exception]], futures: Sequence[asyncio.Future[Result]]
) -> None:
    """Give each waiter that has not left the result or the error of its item."""
    if task.cancelled():
        for future in futures:
            future.cancel()
        return
    error = task.exception()
    results: Sequence[Result | BaseException] = [error] * len(futures) if error else task.result()
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
