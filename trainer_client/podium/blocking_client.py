"""Ask a Podium service for rewards from code without an event loop."""

import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Self, TypeVar

import httpx
from anyio.from_thread import start_blocking_portal

from podium.batch import Progress
from podium.client import DEFAULT_DEADLINE_S, AsyncRankClient
from podium.types import GroupReward, TrajectoryGroup

_T = TypeVar("_T")


class RankClient:
    """A blocking `AsyncRankClient`, with the same arguments, methods and errors.

    Requests run on one background thread of the client, so any number of threads may share the
    client; `on_progress` is called on that thread. Close the client, or use it in a `with` block. A
    client that is left open closes when it is collected or when the program ends.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = AsyncRankClient(
            base_url, api_key=api_key, deadline_s=deadline_s, transport=transport
        )
        stack = ExitStack()
        self._portal = stack.enter_context(start_blocking_portal())
        stack.callback(self._portal.call, self._client.aclose)
        # The background thread of a client that is left open would keep the program from ending.
        self._close = weakref.finalize(self, stack.close)

    def __repr__(self) -> str:
        return repr(self._client).removeprefix("Async")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the background thread."""
        self._close()

    def rank(self, group: TrajectoryGroup) -> GroupReward:
        """Ask for the rewards of one group; see `AsyncRankClient.rank`."""
        return self._wait_for(partial(self._client.rank, group))

    def rank_many(
        self, groups: Sequence[TrajectoryGroup], *, on_progress: Progress | None = None
    ) -> list[GroupReward]:
        """Ask for the rewards of many groups; see `AsyncRankClient.rank_many`."""
        return self._wait_for(partial(self._client.rank_many, groups, on_progress=on_progress))

    def _wait_for(self, call: Callable[[], Awaitable[_T]]) -> _T:
        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        finally:
            future.cancel()  # Ctrl-C must end the request, too
