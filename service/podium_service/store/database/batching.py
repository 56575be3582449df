"""Run many small requests in few batches: what arrives during one batch goes in the next."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
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
        self._running: asyncio.Task[None] | None = None

    def put(self, item: Item) -> asyncio.Future[Result]:
        """Queue one item. An item whose future is cancelled before its batch starts is dropped."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = loop.create_task(self._run_batches())
        return future

    async def _run_batches(self) -> None:
        """Run batches until no item waits."""
        while wanted := [each for each in self._waiting if not each[1].done()]:
            batch, self._waiting = wanted[:_MAX_ITEMS], wanted[_MAX_ITEMS:]
            results: Sequence[Result | BaseException]
            try:
                results = await self._run([item for item, _ in batch])
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - each waiter gets it
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():  # its waiter has left
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        self._waiting, self._running = [], None
