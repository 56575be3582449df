"""Do one piece of work after another in a thread of its own, in the order of arrival."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

_T = TypeVar("_T")


class Slot:
    """The thread in which a model is used.

    Attributes:
        num_open: pieces of work that wait or are being done.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._closing = Event()
        self.num_open = 0

    async def run(self, work: Callable[[Callable[[], bool]], _T]) -> _T:
        """Do a piece of work when its turn comes, and return its result.

        When the caller is cancelled, work that waits is dropped.

        Args:
            work: takes a function that tells whether the result is still wanted, to be asked now
                and then.
        """
        gone = Event()

        def wanted() -> bool:
            return not (gone.is_set() or self._closing.is_set())

        self.num_open += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, work, wanted)
        finally:
            gone.set()
            self.num_open -= 1

    async def aclose(self) -> None:
        """Drop the work that waits, tell the rest that it is not wanted, and wait for its end."""
        self._closing.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
