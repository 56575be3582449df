"""Read how judges did: what their groups told, how fast they answered, which replies failed.

Each read looks at the newest rows alone, so that its time does not grow with the store.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from podium_service.scoring.noise import PastGroup
from podium_service.store.asks.ids import ask_name, first_ask_at
from podium_service.store.database.tables import ASKS, CALLS, PAST_GROUPS
from podium_service.store.history.rows import distinct_query
from podium_service.store.store import SQLStore

_PAST_GROUPS = 800
_CALLS = 1000
_JUDGES = 1000
_LOOKED_AT = 5000  # rows; no index knows which replies had faults, or which groups have texts
_ASKS_OF_JUDGE = 400
_LONGEST_GROUP_S = 3700.0  # from a call to the answer of its group: the longest deadline
_ASKS_AFTER_CALL = 5000


@dataclass(frozen=True, slots=True)
class TimedGroup:
    """The facts that one group told about its judge, and the time, in seconds since the epoch."""

    at: float
    past: PastGroup


@dataclass(frozen=True, slots=True)
class CallFigures:
    """The time and the tokens of one call; `at` is in seconds since the epoch."""

    at: float
    latency_s: float
    completion_tokens: int
    has_verdict: bool


@dataclass(frozen=True, slots=True)
class FaultyReply:
    """A reply that was no verdict."""

    call_id: str
    judge: str
    model: str
    at: float
    finish_reason: str | None
    fault: str
    reply: str


@dataclass(frozen=True, slots=True)
class RankedGroup:
    """One group as one judge ranked it; groups with one transcript are the same to a judge."""

    ask: str
    group_id: str | None
    prompt: str | None
    transcript: bytes
    rewards: list[float]
    cost_usd: float | None
    cached: bool


class JudgingReader:
    """Reads one store; every method raises StoreUnavailable if the database does not answer."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    async def list_past_groups(self) -> dict[str, list[TimedGroup]]:
        """Return what the last groups told about the noise of each judge, oldest first."""
        judge = (
            sa.select(CALLS.c.judge).where(CALLS.c.key == PAST_GROUPS.c.key).limit(1)
        ).scalar_subquery()
        query = (
            sa.select(PAST_GROUPS.c.created_at, PAST_GROUPS.c.past, judge.label("judge"))
            .where(PAST_GROUPS.c.has_residuals)
            .order_by(PAST_GROUPS.c.created_at.desc())
            .limit(_PAST_GROUPS)
        )
        found: defaultdict[str, list[TimedGroup]] = defaultdict(list)
        for row in reversed(await self._store.select(query)):
            if row.judge is not None:
                past = PastGroup(**orjson.loads(row.past))
                found[row.judge].append(TimedGroup(row.created_at, past))
        return dict(found)

    async def list_calls(self) -> dict[str, list[CallFigures]]:
        """Return what the last calls of each judge took, oldest first."""
        query = (
            sa.select(
                CALLS.c.judge,
                CALLS.c.created_at,
                CALLS.c.latency_s,
                CALLS.c.usage,
                CALLS.c.fault.is_(None).label("has_verdict"),
            )
            .order_by(CALLS.c.created_at.desc())
            .limit(_CALLS)
        )
        found: defaultdict[str, list[CallFigures]] = defaultdict(list)
        for row in reversed(await self._store.select(query)):
            tokens = int(orjson.loads(row.usage)["completion_tokens"])
            found[row.judge].append(
                CallFigures(row.created_at, row.latency_s, tokens, bool(row.has_verdict))
            )
        return dict(found)

    async def list_faults(
        self, judge: str | None = None, before: float | None = None, limit: int = 50
    ) -> tuple[list[FaultyReply], float | None]:
        """Return replies without a verdict, newest first, and the moment before which to go on.

        Args:
            judge: None for all of them.
            before: only calls before this moment; None for the newest.
        """
        looked_at = sa.select(CALLS.c.id, CALLS.c.created_at, CALLS.c.fault.is_not(None).label("f"))
        if judge:
            looked_at = looked_at.where(CALLS.c.judge == judge)
        if before is not None:
            looked_at = looked_at.where(CALLS.c.created_at < before)
        last = await self._store.select(
            looked_at.order_by(CALLS.c.created_at.desc()).limit(_LOOKED_AT)
        )
        faulty = [row for row in last if row.f][:limit]
        columns = ("id", "judge", "model", "created_at", "finish_reason", "fault", "reply")
        rows = await self._store.select(
            sa.select(*(CALLS.c[name] for name in columns))
            .where(CALLS.c.id.in_([row.id for row in faulty]))
            .order_by(CALLS.c.created_at.desc())
        )
        is_full = len(faulty) == limit
        ends = faulty[-1:] if is_full else last[-1:] if len(last) == _LOOKED_AT else []
        return [_fault(row) for row in rows], ends[0].created_at if ends else None

    async def count_failures(self) -> list[tuple[str, str, int]]:
        """Return code, judge and number of the groups that failed, the commonest first."""
        number = sa.func.count().label("number")
        query = (
            sa.select(ASKS.c.code, ASKS.c.judge, number)
            .where(ASKS.c.code.is_not(None))
            .group_by(ASKS.c.code, ASKS.c.judge)
            .order_by(number.desc(), ASKS.c.code, ASKS.c.judge)
        )
        return [(row.code, row.judge, row.number) for row in await self._store.select(query)]

    async def find_group(self, call_id: str) -> str | None:
        """Return the first group that a call was made for; None if it is not kept."""
        query = sa.select(CALLS.c.key, CALLS.c.created_at).where(CALLS.c.id == call_id)
        for call in await self._store.select(query):
            first, last = (first_ask_at(call.created_at + s) for s in (-1.0, _LONGEST_GROUP_S))
            asks = await self._store.select(
                sa.select(ASKS.c.id, ASKS.c.calls)
                .where(ASKS.c.id >= first, ASKS.c.id < last, ASKS.c.calls.is_not(None))
                .order_by(ASKS.c.id)
                .limit(_ASKS_AFTER_CALL)
            )
            key = call.key.encode()
            return next((ask_name(ask.id) for ask in asks if key in ask.calls), None)
        return None

    async def list_ranked(self, judge: str) -> list[RankedGroup]:
        """Return the last groups that a judge ranked and whose texts are kept, newest first."""
        names = ("id", "group_id", "prompt", "transcript", "rewards", "cost_usd", "cached")
        newest = sa.select(ASKS.c.id).where(ASKS.c.judge == judge).order_by(ASKS.c.id.desc())
        looked_at = newest.limit(_LOOKED_AT).subquery()
        query = (
            sa.select(*(ASKS.c[name] for name in names))
            .where(ASKS.c.judge == judge, ASKS.c.rewards.is_not(None))
            .where(ASKS.c.id >= sa.select(sa.func.min(looked_at.c.id)).scalar_subquery())
            .where(ASKS.c.transcript.is_not(None))
            .order_by(ASKS.c.id.desc())
            .limit(_ASKS_OF_JUDGE)
        )
        return [_ranked(row) for row in await self._store.select(query)]

    async def list_judges(self) -> list[str]:
        """Return the names of all judges that groups were sent to."""
        rows = await self._store.select(distinct_query(ASKS.c.judge, _JUDGES))
        return [row.value for row in rows]


def _fault(row: sa.Row[Any]) -> FaultyReply:
    return FaultyReply(
        row.id,
        row.judge,
        row.model,
        row.created_at,
        row.finish_reason,
        row.fault.decode(errors="replace"),
        row.reply.decode(errors="replace"),
    )


def _ranked(row: sa.Row[Any]) -> RankedGroup:
    return RankedGroup(
        ask_name(row.id),
        row.group_id,
        row.prompt,
        row.transcript,
        orjson.loads(row.rewards),
        row.cost_usd,
        row.cached,
    )
