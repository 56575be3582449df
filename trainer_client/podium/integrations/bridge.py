"""Join a group whose members are in several processes: the service ranks it when it is whole.

    async with BridgeClient() as client:
        group = TrajectoryGroup([Trajectory(member, messages)], group_id=f"{run}/{prompt}")
        outcome = await client.try_join(group, group_size=8)

Each member waits on a connection of its own, so their number is not bounded: members that waited
for a free connection, behind others that wait for them, would wait for ever.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from podium.answers import GroupReward, Ranking, read_ranking
from podium.client import DEFAULT_DEADLINE_S, DEFAULT_MAX_DRY
from podium.connections import Connections, page_url, parse_key, parse_url
from podium.errors import ProtocolError, RankError, transport_errors
from podium.groups import TrajectoryGroup
from podium.integrations.outcome import ANCHOR_ID
from podium.retry import Retry
from podium.stop_rule import StopRule, concerns_all

DEFAULT_PATIENCE_S = 600.0
_MAX_MEMBERS = 100_000


class BridgeClient:
    """A client of the bridge of a Podium service, for any number of tasks and event loops.

    Args:
        base_url: the URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000.
        api_key: the bearer token; None takes `PODIUM_API_KEY`.
        max_dry: the number of failures in a row, not counting those at the same time, after which
            `NothingRanked` is raised; None for no bound.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        max_dry: int | None = DEFAULT_MAX_DRY,
    ) -> None:
        url = base_url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000"
        key = parse_key(api_key if api_key is not None else os.environ.get("PODIUM_API_KEY"))
        self._connections = Connections(parse_url(url), key, None, max_connections=_MAX_MEMBERS)
        self._stop_rule = StopRule(max_dry)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._connections.aclose()

    def page(self, *, run: str | None = None) -> str:
        """Return the address of the page of a run, or of all groups."""
        return page_url(self._connections.base_url, run=run)

    async def try_join(
        self,
        group: TrajectoryGroup,
        *,
        group_size: int,
        min_members: int | None = None,
        patience_s: float = DEFAULT_PATIENCE_S,
        deadline_s: float = DEFAULT_DEADLINE_S,
        anchor: Sequence[Mapping[str, Any]] | None = None,
    ) -> GroupReward:
        """Wait until the group of one member is ranked, and return the outcome of that member.

        Args:
            group: the group with this member alone; its `group_id` is the same for all members.
            group_size: the number of members.
            min_members: the least that are ranked when the patience ends; None: only a whole group.
            patience_s: seconds from the first member until the last one.
            deadline_s: seconds to rank the group once it is whole.
            anchor: the conversation of a fixed opponent, which is ranked among the members and is
                the same for all of them; its result has the id `outcome.ANCHOR_ID`.

        Returns:
            A `GroupReward` whose reward is the member's and whose ranking is the whole group's;
            with mask False and the error if the group could not be ranked.

        Raises:
            RankError: As `AsyncRankClient.try_rank` does.
        """
        settings: dict[str, Any] = {
            "group_size": group_size,
            "min_members": min_members,
            "patience_s": patience_s,
        }
        if anchor is not None:
            settings["anchor"] = {"id": ANCHOR_ID, "messages": anchor}
        started_at = time.monotonic()
        try:
            outcome = await self._join(group, settings, Retry(patience_s + deadline_s), deadline_s)
        except RankError as error:
            if concerns_all(error):
                raise
            outcome = GroupReward.from_error(error)
        self._stop_rule.see([outcome], started_at)
        return outcome

    async def _join(
        self, group: TrajectoryGroup, settings: dict[str, Any], retry: Retry, deadline_s: float
    ) -> GroupReward:
        """Ask again after each failure that may pass: the member keeps its seat."""
        fields = group.to_wire()
        [trajectory] = fields.pop("trajectories")
        text = json.dumps({**fields, **settings, "trajectory": trajectory}, ensure_ascii=False)
        members = text.encode()[1:]
        while True:
            try:
                async with self._connections.post(
                    "/bridge/join", members, retry, deadline_s=deadline_s
                ) as response:
                    with transport_errors(response.request):
                        return _read(group, await response.aread())
            except RankError as error:
                if not await retry.wait(error):
                    raise


def _read(group: TrajectoryGroup, body: bytes) -> GroupReward:
    """Return the outcome of the only trajectory of `group` in a ranking of more."""
    ranking: Ranking = read_ranking(body)
    [own] = group.trajectories
    results = [result for result in ranking.results if result.id == str(own.id)]
    if len(results) != 1:
        detail = f"ranking {ranking.id} has {len(results)} results of member {own.id!r}"
        raise ProtocolError.about("wrong_ids", detail)
    return GroupReward([results[0].reward], True, ranking)
