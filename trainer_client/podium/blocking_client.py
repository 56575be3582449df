"""Ask a Podium service for rewards from code without an event loop."""

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing, contextmanager
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, Self, TypeVar

import httpx

from podium.answers import GroupReward
from podium.batch import Progress
from podium.client import DEFAULT_DEADLINE_S, DEFAULT_MAX_DRY, AsyncRankClient
from podium.errors import ServiceUnavailable
from podium.groups import TrajectoryGroup

_T = TypeVar("_T")


class RankClient:
    """A blocking `AsyncRankClient`, with the same arguments, methods and errors.

    Requests run on one background thread of the client in each process, which the first request
    there starts. So any number of threads may share the client, and it may be made before a fork or
    be pickled. `on_progress` is called on that thread. Close the client, or use it in a `with`
    block. A client that is left open closes when it is collected or when the program ends.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        max_dry: int | None = DEFAULT_MAX_DRY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._of(
            AsyncRankClient(
                base_url,
                api_key=api_key,
                deadline_s=deadline_s,
                max_dry=max_dry,
                transport=transport,
            )
        )

    def _of(self, client: AsyncRankClient) -> None:
        self._client = client
        self._threads: dict[int, _Thread] = {}

    def __repr__(self) -> str:
        return repr(self._client).removeprefix("Async")

    def __getstate__(self) -> AsyncRankClient:
        return self._client

    def __setstate__(self, client: AsyncRankClient) -> None:
        self._of(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the background thread; the next request starts another."""
        self._thread.close()

    def page(self, *, run: str | None = None, ranking: str | None = None) -> str:
        """Return the address of a page of the service; see `AsyncRankClient.page`."""
        return self._client.page(run=run, ranking=ranking)

    def rank(self, group: TrajectoryGroup, *, deadline_s: float | None = None) -> GroupReward:
        """Ask for the rewards of one group; see `AsyncRankClient.rank`."""
        return self._wait_for(self._client.rank(group, deadline_s=deadline_s))

    def try_rank(self, group: TrajectoryGroup, *, deadline_s: float | None = None) -> GroupReward:
        """Ask for the rewards of one group, or mask it; see `AsyncRankClient.try_rank`."""
        return self._wait_for(self._client.try_rank(group, deadline_s=deadline_s))

    def rank_many(
        self,
        groups: Iterable[TrajectoryGroup],
        *,
        deadline_s: float | None = None,
        on_progress: Progress | None = None,
    ) -> list[GroupReward]:
        """Ask for the rewards of many groups; see `AsyncRankClient.rank_many`."""
        return self._wait_for(
            self._client.rank_many(groups, deadline_s=deadline_s, on_progress=on_progress)
        )

    def rank_as_completed(
        self, groups: Iterable[TrajectoryGroup], *, deadline_s: float | None = None
    ) -> Generator[tuple[int, GroupReward], None, None]:
        """Yield the outcomes of many groups; see `AsyncRankClient.rank_as_completed`."""
        done: SimpleQueue[tuple[int, GroupReward] | None] = SimpleQueue()

        async def feed() -> None:
            ranking = self._client.rank_as_completed(groups, deadline_s=deadline_s)
            try:
                async with aclosing(ranking) as outcomes:
                    async for outcome in outcomes:
                        done.put(outcome)
            finally:
                done.put(None)

        future = self._thread.start(feed())
        with _ended_with(future):
            while (item := done.get()) is not None:
                yield item
            future.result()

    @property
    def _thread(self) -> "_Thread":
        # The lock of a parent process may be held by a thread that the child does not have.
        return self._threads.setdefault(os.getpid(), _Thread())

    def _wait_for(self, call: Coroutine[Any, Any, _T]) -> _T:
        future = self._thread.start(call)
        with _ended_with(future):
            return future.result()


@contextmanager
def _ended_with(future: Future[Any]) -> Iterator[None]:
    """End the request with the body, which Ctrl-C may end, too.

    Raises:
        ServiceUnavailable: If another thread has closed the client meanwhile.
    """
    try:
        yield
    except CancelledError as error:
        detail = "the client was closed during the call: close it after the last one"
        raise ServiceUnavailable("client_closed", None, False, None, detail) from error
    finally:
        future.cancel()


class _Thread:
    """The background thread of one client in one process, which runs an event loop.

    The portal of anyio does the same, but its clean-up waits for ever in a child process.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._close: Callable[[], object] = lambda: None

    def start(self, call: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a call on the thread, which is started if need be."""
        with self._lock:
            if self._loop is None:
                started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
                # A thread that is no daemon would keep the program from ending.
                thread = Thread(target=_run, args=(started,), name="podium-client", daemon=True)
                thread.start()
                self._loop, stop = started.result()
                self._close = weakref.finalize(self, _close, os.getpid(), thread, self._loop, stop)
            return asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self) -> None:
        """End the thread; its loop closes the connections."""
        with self._lock:
            self._loop = None
            self._close()


def _run(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def wait_until_stopped() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    asyncio.run(wait_until_stopped())


def _close(pid: int, thread: Thread, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop the loop and wait for its thread, but not in a child process, which has neither."""
    if os.getpid() == pid:
        loop.call_soon_threadsafe(stop.set)
        if thread is not current_thread():  # a client may be collected on its own thread
            thread.join()
