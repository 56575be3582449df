"""Read the groups of the store as they were sent, so that another judge can rank them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from podium_service.errors import InvalidRequest
from podium_service.schemas import RankRequest, Trajectory
from podium_service.store.database.compression import decompress
from podium_service.store.database.tables import ASKS, TRANSCRIPTS
from podium_service.store.history.rows import sent_group
from podium_service.store.store import SQLStore

_SCAN = 20  # requests read per group wanted, because several may be of one group
_NOT_KEPT = "without texts (from a service with --no-texts, or from before they were kept)"
_EQUAL = "whose attempts are equal"


async def read_stored_groups(
    store: SQLStore, limit: int
) -> tuple[list[RankRequest], dict[str, int]]:
    """Return the newest `limit` groups that were ranked, and how many were left out by reason.

    What a person had judged again is not among them.

    Raises:
        InvalidRequest: If the store has no group that can be ranked again.
        StoreUnavailable: If the database does not answer.
    """
    newest = sa.select(ASKS.c.id, ASKS.c.transcript)
    newest = newest.where(ASKS.c.code.is_(None), ASKS.c.again_of.is_(None))
    newest = newest.order_by(ASKS.c.id.desc()).limit(_SCAN * limit)
    seen: set[bytes] = set()
    requests: list[RankRequest] = []
    left_out: Counter[str] = Counter()
    for row in await store.select(newest):
        if len(requests) == limit:
            break
        if row.transcript is None:
            left_out[_NOT_KEPT] += 1
        elif row.transcript not in seen:
            seen.add(row.transcript)
            request = await _read_group(store, row.id)
            if _are_equal(request.trajectories):
                left_out[_EQUAL] += 1
            else:
                requests.append(request)
    if not requests:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InvalidRequest(
            f"no stored group can be ranked again{f' ({reasons})' if reasons else ''}: "
            "give groups by --data FILE"
        )
    return requests, dict(left_out)


def _are_equal(trajectories: Sequence[Trajectory]) -> bool:
    """Tell whether a judge would have nothing to compare."""
    first, *others = (each.model_dump(exclude={"id", "verified_reward"}) for each in trajectories)
    return all(each == first for each in others)


async def _read_group(store: SQLStore, ask: int) -> RankRequest:
    joined = ASKS.join(TRANSCRIPTS, TRANSCRIPTS.c.key == ASKS.c.transcript)
    query: sa.Select[Any] = sa.select(ASKS, TRANSCRIPTS.c.content).select_from(joined)
    [row] = await store.select(query.where(ASKS.c.id == ask))
    group = sent_group(row, decompress(row.content))
    return RankRequest.model_validate(group.model_dump(exclude={"judge", "flip_order"}))
