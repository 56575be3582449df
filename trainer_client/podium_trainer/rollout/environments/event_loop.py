"""Run coroutines of many attempts in one event loop, which has a daemon thread of its own.

A coroutine that blocks the loop would stop all others for ever. So the loop is watched: if it
stands still for too long, its coroutines are given up, and the next ones get a new loop.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(Exception):
    """A coroutine blocked the event loop; one line that says where."""


class LoopClosed(Exception):
    """The run is over, and nothing more is run."""


class EventLoop:
    """An event loop in a daemon thread; any number of threads may give it work.

    Args:
        workers: the number of `slots`.
        patience_s: seconds after which a loop that stands still is replaced.

    Attributes:
        slots: bounds the blocking calls that run at once.
    """

    def __init__(self, workers: int, *, patience_s: float) -> None:
        self._workers = workers
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._is_closed = False
        self._start()

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.slots = asyncio.Semaphore(self._workers)
        self._thread = threading.Thread(
            target=run_forever, args=(self._loop,), name="podium-environments", daemon=True
        )
        self._thread.start()

    def run_all(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T | Stalled]:
        """Run coroutines side by side, and wait for them.

        Returns:
            For each coroutine its result, or why it was given up.

        Raises:
            LoopClosed: If the loop was closed before they were done.
        """
        with self._lock:
            loop = self._loop
            if self._is_closed:
                for coroutine in coroutines:
                    coroutine.close()
                raise LoopClosed
            futures = [asyncio.run_coroutine_threadsafe(each, loop) for each in coroutines]
        stalled: Stalled | None = None
        while stalled is None and wait(futures, self._patience_s).not_done:
            stalled = self._find_stall(loop)
        return [
            stalled if stalled and not future.done() else result_of(future) for future in futures
        ]

    def _find_stall(self, loop: asyncio.AbstractEventLoop) -> Stalled | None:
        """Replace the loop if it does not answer; return why, or None if it does."""
        is_alive = threading.Event()
        try:
            loop.call_soon_threadsafe(is_alive.set)
        except RuntimeError as error:
            raise LoopClosed from error
        if is_alive.wait(self._patience_s):
            return None
        with self._lock:
            if self._is_closed:
                raise LoopClosed
            where = describe_stack(self._thread) if self._loop is loop else "another attempt"
            if self._loop is loop:
                self._start()
        return Stalled(f"an async method blocked the event loop for too long at {where}")

    def close(self) -> None:
        """Cancel what runs, and end the thread unless it is blocked."""
        with self._lock:
            self._is_closed = True
            self._loop.call_soon_threadsafe(cancel_all, self._loop)
        self._thread.join(timeout=1.0)


def run_forever(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and close it."""
    try:
        loop.run_forever()
    finally:
        loop.close()


def cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks of the running loop, and stop it when they have seen that."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    stopper = loop.create_task(asyncio.sleep(0) if not tasks else finish(tasks))
    stopper.add_done_callback(lambda _: loop.stop())


async def finish(tasks: set[asyncio.Task[Any]]) -> None:
    """Give cancelled tasks a moment to clean up."""
    await asyncio.wait(tasks, timeout=0.5)


def result_of(future: Future[T]) -> T:
    """Return the result of a future that is done.

    Raises:
        LoopClosed: If it was cancelled.
    """
    if future.cancelled():
        raise LoopClosed
    return future.result()


def describe_stack(thread: threading.Thread) -> str:
    """Say at which file and line a thread is."""
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame) if frame is not None else []
    return f"{stack[-1].filename}:{stack[-1].lineno}" if stack else "an unknown place"
