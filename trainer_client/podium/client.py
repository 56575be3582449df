"""Ask a Podium service for rewards over HTTP.

    group = TrajectoryGroup([Trajectory("a", messages_a), Trajectory("b", messages_b)], task="...")
    with RankClient("http://127.0.0.1:8000") as client:
        for answer in client.rank_many([group]):
            if answer.mask:  # if False, the group was not ranked: leave it out
                print(answer.rewards)  # in the order of group.trajectories

`rank` raises a `RankError` when the group could not be ranked; `try_rank`, `rank_many` and
`rank_as_completed` mask such a group, and raise what no later group can escape. One deadline covers
queueing, every attempt and the waits between attempts. A group that is sent twice is paid once,
because the service answers the same content from its store.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import Any, Self

import anyio
import httpx

from podium.answers import GroupReward, read_answer
from podium.batch import PendingGroups, Progress, refuses_all, split_into_chunks
from podium.connections import Connections, page_url, parse_key, parse_url
from podium.errors import RankError, ServiceAbsent, ServiceUnavailable, transport_errors
from podium.groups import TrajectoryGroup, list_groups, require_group
from podium.retry import Retry, check_deadline
from podium.stop_rule import StopRule, concerns_all

DEFAULT_DEADLINE_S = 120.0
DEFAULT_MAX_DRY = 3

# A service that has never answered is tried for this long: it may be starting, or not be there.
FIRST_CONNECTION_S = 2.0


class AsyncRankClient:
    """A client of a Podium service, for any number of tasks, event loops and processes.

    Connections are opened by the first request, one pool for each process and event loop, so the
    client may be made before a fork and may be pickled. A pickle holds the API key only if
    `api_key` was given.

    Args:
        base_url: the URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000.
        api_key: the bearer token, which is never shown or logged; None takes `PODIUM_API_KEY`.
        deadline_s: seconds for one call, all attempts and waits included. An answer on its way may
            take a second more.
        max_dry: the number of batches in a row without any ranked group after which
            `NothingRanked` is raised; None for no bound.
        transport: an httpx transport, for tests and special networks; it serves one event loop.

    Raises:
        ValueError: If the URL, the key, the deadline or the bound cannot be used.
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
        if max_dry is not None and not (isinstance(max_dry, int) and max_dry >= 1):
            raise ValueError(f"max_dry must be at least 1 or None, not {max_dry!r}")
        key = parse_key(api_key if api_key is not None else os.environ.get("PODIUM_API_KEY"))
        url = base_url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000"
        self._deadline_s = check_deadline(deadline_s)
        self._pickles_key = api_key is not None
        self._stop_rule = StopRule(max_dry)
        self._connections = Connections(parse_url(url), key, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._connections.base_url)!r})"

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        bearer = self._connections.headers.get("authorization", "")
        settings: dict[str, Any] = {
            "base_url": str(self._connections.base_url),
            "api_key": bearer.removeprefix("Bearer ") if self._pickles_key else None,
            "deadline_s": self._deadline_s,
            "max_dry": self._stop_rule.max_dry,
            "transport": self._connections.transport,
        }
        return partial(type(self), **settings), ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a loop that ends closes its own."""
        await self._connections.aclose()

    def page(self, *, run: str | None = None, ranking: str | None = None) -> str:
        """Return the address of a page of the service: of a run, a ranking, or all groups.

        Args:
            run: the name of a run, as the metadata of its groups have it.
            ranking: the id of a ranking.
        """
        return page_url(self._connections.base_url, run=run, ranking=ranking)

    async def rank(self, group: TrajectoryGroup, *, deadline_s: float | None = None) -> GroupReward:
        """Ask for the rewards of one group, again after each failure that may pass.

        Args:
            group: the group.
            deadline_s: seconds for this call; None takes the client's.

        Returns:
            A `GroupReward` with mask True and G rewards in the order of the group's trajectories.

        Raises:
            RankError: If the group could not be ranked before the deadline; see `errors`.
        """
        require_group(group)
        retry = self._start(deadline_s)
        members = group.to_json()[1:]
        while True:
            try:
                return await self._rank_once(group, members, retry)
            except RankError as error:
                if not await self._wait(retry, error):
                    raise

    async def try_rank(
        self, group: TrajectoryGroup, *, deadline_s: float | None = None
    ) -> GroupReward:
        """Ask for the rewards of one group, and mask it if the judge or the service fails.

        Args:
            group: the group, which counts as a batch of one.
            deadline_s: seconds for this call; None takes the client's.

        Returns:
            The `GroupReward`; with mask False and the error if the group could not be ranked.

        Raises:
            RankError: As `rank_many` does.
        """
        started_at = time.monotonic()
        try:
            outcome = await self.rank(group, deadline_s=deadline_s)
        except RankError as error:
            if concerns_all(error):
                raise
            outcome = GroupReward.from_error(error)
        self._stop_rule.see([outcome], started_at)
        return outcome

    async def rank_many(
        self,
        groups: Iterable[TrajectoryGroup],
        *,
        deadline_s: float | None = None,
        on_progress: Progress | None = None,
    ) -> list[GroupReward]:
        """Ask for the rewards of many groups at once, under one deadline.

        A group that cannot be ranked comes back with mask False and its error. So does every group
        that gets no answer from a service that has answered before.

        Args:
            groups: any number of groups; each is judged on its own.
            deadline_s: seconds for all groups; None takes the client's.
            on_progress: called with (groups done, groups in all) whenever a group is done.

        Returns:
            One `GroupReward` per group, in the order of `groups`.

        Raises:
            RequestRefused: If the service refuses a whole request, knows no judge of that name, or
                refuses every group of a client that has ranked none yet.
            Unauthorized: If the service does not accept the key.
            ServiceAbsent: If the service has never answered and no connection can be made.
            NothingRanked: If no group was ranked in `max_dry` batches in a row.
        """

        listed = list_groups(groups)

        def report(index: int, outcome: GroupReward) -> None:
            if on_progress is not None:
                on_progress(len(pending.outcomes), len(listed))

        pending = PendingGroups(listed, report)
        await self._rank_all(pending, self._start(deadline_s).ends_at)
        return [pending.outcomes[index] for index in range(len(listed))]

    async def rank_as_completed(
        self, groups: Iterable[TrajectoryGroup], *, deadline_s: float | None = None
    ) -> AsyncGenerator[tuple[int, GroupReward], None]:
        """Ask as `rank_many` does, and yield (index of the group, its outcome) as each is done.

        Raises:
            RankError: As `rank_many` does, after the outcomes that are done.
        """
        done: asyncio.Queue[tuple[int, GroupReward] | None] = asyncio.Queue()
        pending = PendingGroups(
            list_groups(groups), lambda index, outcome: done.put_nowait((index, outcome))
        )
        ranking = asyncio.ensure_future(self._rank_all(pending, self._start(deadline_s).ends_at))
        ranking.add_done_callback(lambda _: done.put_nowait(None))
        try:
            while (item := await done.get()) is not None:
                yield item
            await ranking
        finally:
            ranking.cancel()
            await asyncio.wait([ranking])

    async def _rank_all(self, pending: PendingGroups, ends_at: float) -> None:
        started_at = time.monotonic()
        try:
            async with anyio.create_task_group() as tasks:
                for chunk in split_into_chunks(pending.encode()):
                    retry = Retry(ends_at - anyio.current_time())
                    tasks.start_soon(self._rank_chunk, pending, chunk, retry)
        except ExceptionGroup as failures:  # all requests were refused for the same reason
            raise failures.exceptions[0] from None
        outcomes = [pending.outcomes[index] for index in range(len(pending.groups))]
        self._stop_rule.see(outcomes, started_at)

    async def _rank_once(self, group: TrajectoryGroup, members: bytes, retry: Retry) -> GroupReward:
        async with self._connections.post("/rank", members, retry) as response:
            with transport_errors(response.request):
                body = await response.aread()
        return read_answer(group, body)

    async def _rank_chunk(
        self, pending: PendingGroups, chunk: dict[int, bytes], retry: Retry
    ) -> None:
        while chunk:
            failures = await self._rank_chunk_once(pending, chunk, retry)
            slowest = max(failures.values(), key=lambda e: e.retry_after_s, default=None)
            if slowest is None or not await self._wait(retry, slowest):
                for index, error in failures.items():
                    pending.settle(index, GroupReward.from_error(error))
                return
            chunk = {index: chunk[index] for index in failures}

    async def _rank_chunk_once(
        self, pending: PendingGroups, chunk: dict[int, bytes], retry: Retry
    ) -> dict[int, RankError]:
        """Send one batch request, settle the final outcomes, and return the retryable errors."""
        outcomes: dict[int, GroupReward] = {}
        members = b'"groups":[' + b",".join(chunk.values()) + b"]}"
        broken: RankError = ServiceUnavailable(
            "stream_cut_short", 200, True, None, "the answer ended before every group had its line"
        )
        try:
            async with self._connections.post("/rank/batch", members, retry) as response:
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

    def _start(self, deadline_s: float | None) -> Retry:
        return Retry(self._deadline_s if deadline_s is None else check_deadline(deadline_s))

    async def _wait(self, retry: Retry, error: RankError) -> bool:
        """Wait until the next attempt; return False if there is none.

        Raises:
            ServiceAbsent: If the service has never answered and is not there.
        """
        if error.code != "connection_failed" or self._connections.has_answered:
            return await retry.wait(error)
        if await retry.wait(error, patience_s=FIRST_CONNECTION_S):
            return True
        hint = "start a service with `podium serve`, or name another one by base_url or PODIUM_URL"
        raise ServiceAbsent(
            "service_absent", None, True, None, f"{error.detail}; {hint}"
        ) from error
