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
        query = sa.select(*LISTED).where(*conditions).order_by(ASKS.c.id.desc()).limit(limit + 1)
        rows = await self._store.select(query)
        return RankingPage(
            rankings=[summary_of(row) for row in rows[:limit]],
            next=write_cursor(rows[limit - 1].id) if len(rows) > limit else None,
        )

    async def read_ranking(self, ranking_id: str) -> RankingDetail | None:
        """Return a ranking, or a group that failed, with its group; None if it is not there.

        Args:
            ranking_id: also the id of one of the asks for a ranking; else it is the first one's.
        """
        found = await self._find(ranking_id)
        if found is None:
            return None
        row, answer = found
        transcripts: Sequence[Any] = ()
        if row.transcript:
            transcripts = await self._store.select(
                sa.select(TRANSCRIPTS.c.content).where(TRANSCRIPTS.c.key == row.transcript)
            )
        return await asyncio.to_thread(_detail, row, answer, [each.content for each in transcripts])

    async def read_calls(self, ranking_id: str) -> list[CallView] | None:
        """Return the calls behind a ranking or a failure, oldest first; None as `read_ranking`."""
        found = await self._find(ranking_id)
        if found is None:
            return None
        row = found[0]
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

    async def _find(self, ranking_id: str) -> tuple[sa.Row[Any], bytes | None] | None:
        """Return the ask of an id, and the answer of its ranking."""
        ask, answer = parse_ask(ranking_id), None
        if ask is None:
            query = sa.select(RANKINGS.c.ask, RANKINGS.c.answer).where(RANKINGS.c.id == ranking_id)
            for each in await self._store.select(query):
                ask, answer = each.ask, each.answer
        rows = await self._store.select(sa.select(ASKS).where(ASKS.c.id == ask))
        if not rows:
            return None
        [row] = rows
        if row.answer:
            answer = decompress(row.answer)
        elif answer is None and not row.code:
            query = sa.select(RANKINGS.c.answer).where(RANKINGS.c.id == row.ranking_id)
            answer = next((each.answer for each in await self._store.select(query)), None)
        return row, answer


def _detail(row: sa.Row[Any], answer: bytes | None, transcripts: list[bytes]) -> RankingDetail:
    request = None
    for content in transcripts:
        request = sent_group(row, decompress(content))
    return RankingDetail(
        summary=summary_of(row),
        ranking=Ranking.model_validate_json(answer) if answer else None,
        problem=problem_of(row),
        request=request,
        request_id=row.request_id,
        metadata=from_json(row.metadata) if row.metadata else None,
    )
