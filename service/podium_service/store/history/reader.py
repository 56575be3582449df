"""Read what was asked: lists of rankings, one ranking with its group and its calls, and runs.

Each list is read by the id of its last row, so that new rows do not move a page. Nothing is
written, so that a store without a service can be read as well.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic_core import from_json

from podium_service.schemas import Ranking
from podium_service.schemas.history import (
    CallView,
    RankingDetail,
    RankingPage,
    RankingSummary,
    RunDetail,
    RunPage,
    RunPrompt,
)
from podium_service.store.asks.ids import parse_ask
from podium_service.store.database.compression import decompress
from podium_service.store.database.tables import ASKS, PAST_GROUPS, RANKINGS, TRANSCRIPTS
from podium_service.store.history import runs
from podium_service.store.history.calls import view_call
from podium_service.store.history.filters import RankingFilters, read_cursor, write_cursor
from podium_service.store.history.rows import (
    LISTED,
    distinct_query,
    problem_of,
    sent_group,
    summary_of,
)
from podium_service.store.store import SQLStore

MAX_LIMIT = 500


@dataclass(frozen=True, slots=True)
class PastRanking:
    """A ranking or a failure, with the calls behind it."""

    detail: RankingDetail
    calls: list[CallView]


class HistoryReader:
    """Reads one store; every method raises StoreUnavailable if the database does not answer."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    async def list_rankings(
        self,
        filters: RankingFilters | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> RankingPage:
        """Return the newest rankings, at most `limit`, and the cursor of those before them.

        Raises:
            InvalidRequest: If the cursor is none that a page told.
        """
        conditions = (filters or RankingFilters()).conditions()
        if (last := read_cursor(cursor)) is not None:
            conditions.append(ASKS.c.id < last)
        newest = sa.select(ASKS.c.id).where(*conditions).order_by(ASKS.c.id.desc())
        # Where no index has the order, ids alone are sorted, and not whole rows.
        query = sa.select(*LISTED).where(ASKS.c.id.in_(newest.limit(limit + 1)))
        rows = await self._store.select(query.order_by(ASKS.c.id.desc()))
        return RankingPage(
            rankings=[summary_of(row) for row in rows[:limit]],
            next=write_cursor(rows[limit - 1].id) if len(rows) > limit else None,
        )

    async def read_ranking(self, ranking_id: str) -> RankingDetail | None:
        """Return a ranking, or a group that failed, with its group; None if it is not there.

        Args:
            ranking_id: also the id of one of the asks for a ranking; else it is the first one's.
        """
        ask = await self._find(ranking_id)
        details = await self._read_details([ask]) if ask is not None else []
        return next(iter(details), None)

    async def read_rankings(self, asks: Sequence[str]) -> list[RankingDetail]:
        """Return what `read_ranking` returns for these asks, in order, without those not there."""
        return await self._read_details([ask for name in asks if (ask := parse_ask(name))])

    async def read_calls(self, ranking_id: str) -> list[CallView] | None:
        """Return the calls behind a ranking or a failure, oldest first; None as `read_ranking`."""
        query = sa.select(ASKS.c.ids, ASKS.c.calls)
        rows = await self._store.select(query.where(ASKS.c.id == await self._find(ranking_id)))
        if not rows:
            return None
        [row] = rows
        members: dict[str, list[int] | None] = orjson.loads(row.calls) if row.calls else {}
        ids: list[str] = orjson.loads(row.ids)
        views = []
        for key, first in members.items():
            names = None if first is None else [ids[index] for index in first]
            views += [view_call(call, names) for call in await self._store.read_calls(key)]
        return sorted(views, key=lambda view: view.at)

    async def read_past(self, ranking_id: str) -> PastRanking | None:
        """Return a ranking with its calls; None as `read_ranking`."""
        detail = await self.read_ranking(ranking_id)
        if detail is None:
            return None
        return PastRanking(detail, await self.read_calls(ranking_id) or [])

    async def list_neighbours(
        self, ranking: RankingSummary
    ) -> tuple[RankingSummary | None, RankingSummary | None]:
        """Return the asks about the same prompt just before and just after an ask."""
        own = parse_ask(ranking.ask)
        same = sa.select(*LISTED).where(ASKS.c.prompt_id == ranking.prompt_id).limit(1)
        same = same.where(ASKS.c.again_of.is_(None))
        before = same.where(ASKS.c.id < own).order_by(ASKS.c.id.desc())
        after = same.where(ASKS.c.id > own).order_by(ASKS.c.id)
        found = [await self._store.select(query) for query in (before, after)]
        first, second = (summary_of(rows[0]) if rows else None for rows in found)
        return first, second

    async def list_again(self, ask: str, limit: int = 20) -> list[tuple[RankingSummary, bool]]:
        """Return the newest asks by which people had the group of an ask judged again.

        Each comes with whether its texts differ from the group's, as they do by a new rubric.
        """
        first = sa.select(ASKS.c.transcript).where(ASKS.c.id == parse_ask(ask)).scalar_subquery()
        differs = ASKS.c.transcript.is_distinct_from(first).label("differs")
        query = sa.select(*LISTED, differs).where(ASKS.c.again_of == parse_ask(ask))
        rows = await self._store.select(query.order_by(ASKS.c.id.desc()).limit(limit))
        return [(summary_of(row), bool(row.differs)) for row in rows]

    async def are_complete(self, keys: Collection[str]) -> bool:
        """Return whether the store has all verdicts of each of these content keys."""
        query = sa.select(sa.func.count()).select_from(PAST_GROUPS)
        [(number,)] = await self._store.select(query.where(PAST_GROUPS.c.key.in_(set(keys))))
        return bool(number == len(set(keys)))

    async def list_runs(self, cursor: str | None = None, limit: int = 50) -> RunPage:
        """Return the runs, the last active one first, and the cursor of those before them.

        Raises:
            InvalidRequest: If the cursor is none that a page told.
        """
        rows = await self._store.select(runs.list_query(read_cursor(cursor), limit + 1))
        return RunPage(
            runs=[runs.summary_of(row) for row in rows[:limit]],
            next=write_cursor(rows[limit - 1].last) if len(rows) > limit else None,
        )

    async def list_run_names(self, limit: int = 200) -> list[str]:
        """Return the names of runs in order; unlike `list_runs` this sums up nothing."""
        rows = await self._store.select(distinct_query(ASKS.c.run, limit))
        return [row.value for row in rows]

    async def read_run(self, run: str) -> RunDetail | None:
        """Return a run step by step; None if no group names it."""
        steps = await self._store.select(runs.steps_query(run))
        codes = await self._store.select(runs.codes_query(run))
        newest = await self._store.select(runs.newest_query(run))
        return runs.detail_of(run, steps, codes, newest) if steps else None

    async def list_prompts(self, run: str, limit: int = 20) -> list[RunPrompt]:
        """Return the prompts that a run was given most often."""
        rows = await self._store.select(runs.prompts_query(run, limit))
        return [RunPrompt.model_validate(dict(row._mapping)) for row in rows]

    async def _find(self, ranking_id: str) -> int | None:
        """Return the ask of an id: its own, or the first one for a ranking."""
        ask = parse_ask(ranking_id)
        if ask is not None:
            return ask
        query = sa.select(RANKINGS.c.ask).where(RANKINGS.c.id == ranking_id)
        return next((row.ask for row in await self._store.select(query)), None)

    async def _read_details(self, asks: Sequence[int]) -> list[RankingDetail]:
        """Return the rankings of asks in this order, without those that are not there."""
        rows = await self._store.select(sa.select(ASKS).where(ASKS.c.id.in_(asks)))
        answers = await self._read_answers(rows)
        groups = await self._read_groups(rows)
        found = {row.id: row for row in rows}
        return await asyncio.to_thread(
            lambda: [
                _detail(row, answers.get(row.ranking_id), groups.get(row.transcript))
                for ask in asks
                if (row := found.get(ask))
            ]
        )

    async def _read_answers(self, rows: Sequence[sa.Row[Any]]) -> dict[str, bytes]:
        """Return the first answer of each ranking that asks have no other answer to."""
        ids = {row.ranking_id for row in rows if not row.answer and not row.code}
        query = sa.select(RANKINGS.c.id, RANKINGS.c.answer).where(RANKINGS.c.id.in_(ids))
        return {each.id: each.answer for each in await self._store.select(query)} if ids else {}

    async def _read_groups(self, rows: Sequence[sa.Row[Any]]) -> dict[bytes, bytes]:
        """Return the groups that the store keeps of asks, compressed, by the transcript's key."""
        keys = {row.transcript for row in rows if row.transcript}
        query = sa.select(TRANSCRIPTS.c.key, TRANSCRIPTS.c.content)
        query = query.where(TRANSCRIPTS.c.key.in_(keys))
        return {each.key: each.content for each in await self._store.select(query)} if keys else {}


def _detail(row: sa.Row[Any], first: bytes | None, group: bytes | None) -> RankingDetail:
    answer = decompress(row.answer) if row.answer else first
    return RankingDetail(
        summary=summary_of(row),
        ranking=Ranking.model_validate_json(answer) if answer else None,
        problem=problem_of(row),
        request=sent_group(row, decompress(group)) if group else None,
        request_id=row.request_id,
        metadata=from_json(row.metadata) if row.metadata else None,
    )
