"""Groups of trajectories in, rewards out, over HTTP. Needs httpx and pydantic, nothing else.

    group = TrajectoryGroup([Trajectory("a", messages_a), Trajectory("b", messages_b)], task="...")
    with RankClient("http://127.0.0.1:8000") as client:
        for answer in client.rank_many([group]):
            if answer.mask:  # False: no ranking, so leave the group out
                print(answer.rewards)  # in the order of group.trajectories

`rank` raises a `RankError` when the group could not be ranked; `rank_many` masks such a group and
goes on. One deadline covers queueing, every attempt and the waits between them. Asking again is
free of harm: the service answers the same content from its store.
"""

import math
import os
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Self, TypeVar

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from podium.batch import Board, Progress, chunks, refuses_all
from podium.errors import (
    RankError,
    ServiceUnavailable,
    deadline_exceeded,
    from_response,
    transport_errors,
)
from podium.types import GroupReward, TrajectoryGroup, read_answer

DEFAULT_DEADLINE_S = 120.0
MAX_CONNECTIONS = 64  # httpx 0.28.1 falls from 290 to 60 calls/s between 64 and 128
SERVICE_DEADLINE_S = 3600.0  # the longest that a service takes
MARGIN_S = 1.0  # how long the service's own answer about a passed deadline may travel
CONNECT_S = 5.0
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 8.0

_T = TypeVar("_T")
_jitter = random.Random()  # not the global generator: its state is part of a training run


class AsyncRankClient:
    """Asks a Podium service for rewards. Use it in one event loop, from any number of tasks.

    Args:
        base_url: where the service is; `PODIUM_URL` if None, else http://127.0.0.1:8000.
        api_key: sent as a bearer token; `PODIUM_API_KEY` if None. Never shown or logged.
        deadline_s: seconds for one `rank` or one `rank_many`, all attempts and waits included. An
            answer on its way may take a second more.
        transport: what carries the requests, for tests or special networks.

    Raises:
        ValueError: If the URL, the key or the deadline cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not (deadline_s > 0 and math.isfinite(deadline_s)):
            raise ValueError(f"deadline_s must be a positive number of seconds, not {deadline_s!r}")
        key = checked_key(api_key if api_key is not None else os.environ.get("PODIUM_API_KEY"))
        url = base_url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000"
        headers = {"Content-Type": "application/json"}
        self._deadline_s = deadline_s
        self._slots = anyio.Semaphore(MAX_CONNECTIONS)
        self._http = httpx.AsyncClient(
            base_url=checked_url(url),
            headers=headers | {"Authorization": f"Bearer {key}"} if key else headers,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            transport=transport,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def rank(self, group: TrajectoryGroup) -> GroupReward:
        """Ask for the rewards of one group; retryable failures are asked again.

        Returns:
            A `GroupReward` with mask True and G rewards in the order of the group's trajectories.

        Raises:
            RankError: If the group could not be ranked before the deadline; see `errors`.
        """
        patience = _Patience(anyio.current_time() + self._deadline_s)
        members = group.to_json()[1:]
        while True:
            try:
                return await self._rank_once(group, members, patience)
            except RankError as error:
                if not await patience.outlasts(error):
                    raise

    async def rank_many(
        self, groups: Sequence[TrajectoryGroup], *, on_progress: Progress | None = None
    ) -> list[GroupReward]:
        """Ask for the rewards of many groups at once, under one deadline.

        A group that cannot be ranked comes back with mask False and its error; so does every group
        that an unreachable service left unanswered.

        Args:
            groups: any number of groups; each is judged on its own.
            on_progress: called with (groups done, groups in all) whenever a group is done.

        Returns:
            One `GroupReward` per group, in the order given.

        Raises:
            RequestRefused: If the service refuses a whole request, not one group of it.
            Unauthorized: If the service does not take the key.
        """
        ends_at = anyio.current_time() + self._deadline_s
        board = Board(groups, on_progress)
        try:
            async with anyio.create_task_group() as tasks:
                for chunk in chunks(board.encode()):
                    tasks.start_soon(self._rank_chunk, board, chunk, _Patience(ends_at))
        except ExceptionGroup as failures:  # the first stands for all
            raise failures.exceptions[0] from None
        return [board.done[index] for index in range(len(groups))]

    async def _rank_once(
        self, group: TrajectoryGroup, members: bytes, patience: "_Patience"
    ) -> GroupReward:
        async with self._post("/rank", members, patience) as response:
            with transport_errors():
                answer = await response.aread()
        return read_answer(group, answer)

    async def _rank_chunk(
        self, board: "Board", chunk: dict[int, bytes], patience: "_Patience"
    ) -> None:
        while chunk:
            failures = await self._rank_chunk_once(board, chunk, patience)
            slowest = max(failures.values(), key=lambda e: e.retry_after_s, default=None)
            if slowest is None or not await patience.outlasts(slowest):
                for index, error in failures.items():
                    board.settle(index, GroupReward.failed(error))
                return
            chunk = {index: chunk[index] for index in failures}

    async def _rank_chunk_once(
        self, board: "Board", chunk: dict[int, bytes], patience: "_Patience"
    ) -> dict[int, RankError]:
        """Send one batch request and settle what it answers; return what may be asked again."""
        heard: dict[int, GroupReward] = {}
        members = b'"groups":[' + b",".join(chunk.values()) + b"]}"
        broken: RankError = ServiceUnavailable(
            "stream_cut_short", 200, True, None, "the answer ended before every group had its line"
        )
        try:
            async with self._post("/rank/batch", members, patience) as response:
                await board.listen(response, list(chunk), heard)
        except RankError as error:
            if refuses_all(error, chunk):
                raise
            broken = error
        failures: dict[int, RankError] = {}
        for index in chunk:
            answer = heard.get(index) or GroupReward.failed(broken)
            if answer.error is not None and answer.error.retryable:
                failures[index] = answer.error
            elif index not in heard:
                board.settle(index, answer)
        return failures

    @asynccontextmanager
    async def _post(
        self, path: str, members: bytes, patience: "_Patience"
    ) -> AsyncIterator[httpx.Response]:
        """Send one request with the time that is left; yield its 200 answer, not yet read.

        Args:
            members: the body's JSON object without its opening brace.

        Raises:
            RankError: If anything but a 200 comes, or the deadline passes while the block runs.
        """
        with anyio.move_on_after(patience.left_s + MARGIN_S) as scope:
            async with self._slots:
                request = self._request(path, members, patience.left_s)
                with transport_errors():
                    response = await self._http.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        with transport_errors():
                            await response.aread()
                        raise from_response(response)
                    yield response
                finally:
                    await response.aclose()
        if scope.cancelled_caught:
            raise deadline_exceeded(f"{path}: no whole answer within the deadline")

    def _request(self, path: str, members: bytes, left_s: float) -> httpx.Request:
        if left_s < 0.001:
            raise deadline_exceeded(f"{path}: the deadline passed before the request was sent")
        patient_s = left_s + MARGIN_S
        return self._http.build_request(
            "POST",
            path,
            content=b'{"deadline_s":%.3f,' % min(left_s, SERVICE_DEADLINE_S) + members,
            timeout=httpx.Timeout(patient_s, connect=min(CONNECT_S, patient_s)),
        )


class RankClient:
    """`AsyncRankClient` for code without an event loop: the same arguments, methods and errors.

    Requests run on one background thread of the client's own, so any number of threads may share
    it; `on_progress` is called on that thread. Close it, or use it in a `with` block; left open, it
    closes when it is collected or the program ends.
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
        self._close = weakref.finalize(self, stack.close)  # a client left open must not hang exit

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
            future.cancel()  # ctrl-C ends the request, too; nothing to do once it is done


class _Patience:
    """One deadline, and the waits between attempts that spend from it."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.backoff_s = FIRST_BACKOFF_S

    @property
    def left_s(self) -> float:
        return self.ends_at - anyio.current_time()

    async def outlasts(self, error: RankError) -> bool:
        """Wait until it is time to ask again; False at once if there is no use or no time."""
        wait_s = error.retry_after_s + self.backoff_s * _jitter.uniform(0.5, 1.0)
        if not error.retryable or wait_s >= self.left_s:
            return False
        self.backoff_s = min(2 * self.backoff_s, LAST_BACKOFF_S)
        await anyio.sleep(wait_s)
        return True


def checked_url(url: str) -> httpx.URL:
    """A base URL that can be used, or a ValueError that says why not."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"the base URL cannot be used: {exc}") from exc
    if parsed.userinfo:
        raise ValueError("the base URL must not hold a user or password; give api_key instead")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"the base URL must look like http://host:port, not {url!r}")
    return parsed


def checked_key(key: str | None) -> str | None:
    """The key without surrounding white space; a bad one is not shown."""
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the API key holds characters that an HTTP header cannot carry")
    return key or None
