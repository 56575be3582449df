"""Ask a Podium service for rewards over HTTP.

    group = TrajectoryGroup([Trajectory("a", messages_a), Trajectory("b", messages_b)], task="...")
    with RankClient("http://127.0.0.1:8000") as client:
        for answer in client.rank_many([group]):
            if answer.mask:  # if False, the group was not ranked: leave it out
                print(answer.rewards)  # in the order of group.trajectories

`rank` raises a `RankError` when the group could not be ranked; `rank_many` masks such a group and
goes on. One deadline covers queueing, every attempt and the waits between attempts. A group that is
sent twice is paid once, because the service answers the same content from its store.
"""

import math
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio
import httpx

from podium.batch import PendingGroups, Progress, refuses_all, split_into_chunks
from podium.errors import (
    RankError,
    ServiceUnavailable,
    deadline_exceeded,
    from_response,
    transport_errors,
)
from podium.types import GroupReward, TrajectoryGroup, read_answer

DEFAULT_DEADLINE_S = 120.0

# httpx 0.28.1 falls from 290 to 60 calls/s between 64 and 128 connections.
MAX_CONNECTIONS = 64

# The longest deadline that a service accepts.
SERVICE_DEADLINE_S = 3600.0

# The service's own answer about a passed deadline has this long to arrive.
MARGIN_S = 1.0

CONNECT_S = 5.0
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 8.0

# The global generator is not used, because its state is part of a training run.
_jitter = random.Random()


class AsyncRankClient:
    """A client of a Podium service, for one event loop and any number of tasks.

    Args:
        base_url: the URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000.
        api_key: the bearer token, which is never shown or logged; None takes `PODIUM_API_KEY`.
        deadline_s: seconds for one `rank` or one `rank_many`, all attempts and waits included. An
            answer on its way may take a second more.
        transport: an httpx transport, for tests and special networks.

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
        key = parse_key(api_key if api_key is not None else os.environ.get("PODIUM_API_KEY"))
        url = base_url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000"
        headers = {"Content-Type": "application/json"}
        self._deadline_s = deadline_s
        self._connections = anyio.Semaphore(MAX_CONNECTIONS)
        self._http = httpx.AsyncClient(
            base_url=parse_url(url),
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
        """Ask for the rewards of one group, again after each failure that may pass.

        Returns:
            A `GroupReward` with mask True and G rewards in the order of the group's trajectories.

        Raises:
            RankError: If the group could not be ranked before the deadline; see `errors`.
        """
        retry = _Retry(anyio.current_time() + self._deadline_s)
        members = group.to_json()[1:]
        while True:
            try:
                return await self._rank_once(group, members, retry)
            except RankError as error:
                if not await retry.wait(error):
                    raise

    async def rank_many(
        self, groups: Sequence[TrajectoryGroup], *, on_progress: Progress | None = None
    ) -> list[GroupReward]:
        """Ask for the rewards of many groups at once, under one deadline.

        A group that cannot be ranked comes back with mask False and its error. So does every group
        that gets no answer because the service cannot be reached.

        Args:
            groups: any number of groups; each is judged on its own.
            on_progress: called with (groups done, groups in all) whenever a group is done.

        Returns:
            One `GroupReward` per group, in the order of `groups`.

        Raises:
            RequestRefused: If the service refuses a whole request, not one group of it.
            Unauthorized: If the service does not accept the key.
        """
        ends_at = anyio.current_time() + self._deadline_s
        pending = PendingGroups(groups, on_progress)
        try:
            async with anyio.create_task_group() as tasks:
                for chunk in split_into_chunks(pending.encode()):
                    tasks.start_soon(self._rank_chunk, pending, chunk, _Retry(ends_at))
        except ExceptionGroup as failures:  # all requests were refused for the same reason
            raise failures.exceptions[0] from None
        return [pending.outcomes[index] for index in range(len(groups))]

    async def _rank_once(
        self, group: TrajectoryGroup, members: bytes, retry: "_Retry"
    ) -> GroupReward:
        async with self._post("/rank", members, retry) as response:
            with transport_errors():
                body = await response.aread()
        return read_answer(group, body)

    async def _rank_chunk(
        self, pending: PendingGroups, chunk: dict[int, bytes], retry: "_Retry"
    ) -> None:
        while chunk:
            failures = await self._rank_chunk_once(pending, chunk, retry)
            slowest = max(failures.values(), key=lambda e: e.retry_after_s, default=None)
            if slowest is None or not await retry.wait(slowest):
                for index, error in failures.items():
                    pending.settle(index, GroupReward.from_error(error))
                return
            chunk = {index: chunk[index] for index in failures}

    async def _rank_chunk_once(
        self, pending: PendingGroups, chunk: dict[int, bytes], retry: "_Retry"
    ) -> dict[int, RankError]:
        """Send one batch request, settle the final outcomes, and return the retryable errors."""
        outcomes: dict[int, GroupReward] = {}
        members = b'"groups":[' + b",".join(chunk.values()) + b"]}"
        broken: RankError = ServiceUnavailable(
            "stream_cut_short", 200, True, None, "the answer ended before every group had its line"
        )
        try:
            async with self._post("/rank/batch", members, retry) as response:
                await pending.read_stream(response, list(chunk), outcomes)
        except RankError as error:
            if refuses_all(error, chunk):
                raise
            broken = error
        failures: dict[int, RankError] = {}
        for index in chunk:
            outcome = outcomes.get(index) or GroupReward.from_error(broken)
            if outcome.error is not None and outcome.error.retryable:
                failures[index] = outcome.error
            elif index not in outcomes:
                pending.settle(index, outcome)
        return failures

    @asynccontextmanager
    async def _post(
        self, path: str, members: bytes, retry: "_Retry"
    ) -> AsyncIterator[httpx.Response]:
        """Send one request with the time that is left, and yield its 200 answer, not yet read.

        Args:
            path: the route.
            members: the body's JSON object without its opening brace.
            retry: the deadline.

        Raises:
            RankError: If anything but a 200 comes, or the deadline passes while the block runs.
        """
        with anyio.move_on_after(retry.left_s + MARGIN_S) as scope:
            async with self._connections:
                request = self._request(path, members, retry.left_s)
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
            raise deadline_exceeded(f"{path}: no complete answer within the deadline")

    def _request(self, path: str, members: bytes, left_s: float) -> httpx.Request:
        if left_s < 0.001:
            raise deadline_exceeded(f"{path}: the deadline passed before the request was sent")
        timeout_s = left_s + MARGIN_S
        return self._http.build_request(
            "POST",
            path,
            content=b'{"deadline_s":%.3f,' % min(left_s, SERVICE_DEADLINE_S) + members,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        )


class _Retry:
    """One deadline, and the growing waits between attempts that spend from it."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.backoff_s = FIRST_BACKOFF_S

    @property
    def left_s(self) -> float:
        return self.ends_at - anyio.current_time()

    async def wait(self, error: RankError) -> bool:
        """Wait until the next attempt; return False at once if it has no use or no time."""
        wait_s = error.retry_after_s + self.backoff_s * _jitter.uniform(0.5, 1.0)
        if not error.retryable or wait_s >= self.left_s:
            return False
        self.backoff_s = min(2 * self.backoff_s, LAST_BACKOFF_S)
        await anyio.sleep(wait_s)
        return True


def parse_url(url: str) -> httpx.URL:
    """Parse a base URL.

    Raises:
        ValueError: If it cannot be used; says why.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"the base URL cannot be used: {exc}") from exc
    if parsed.userinfo:
        raise ValueError("the base URL must not hold a user or password; give api_key instead")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"the base URL must look like http://host:port, not {url!r}")
    return parsed


def parse_key(key: str | None) -> str | None:
    """Return the key without surrounding white space; None if nothing is left.

    Raises:
        ValueError: If an HTTP header cannot carry the key, which is not shown.
    """
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the API key holds characters that an HTTP header cannot carry")
    return key or None
