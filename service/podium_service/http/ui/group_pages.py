"""Put the page of one group together: the ranking, what became of it, and what people said."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from podium_service.errors import NotFound
from podium_service.http.access.person import person_of
from podium_service.http.ui.aftermath import read_again, read_people
from podium_service.http.ui.site import Site
from podium_service.judges.settings import LLMJudge
from podium_service.pages.attempts import read_attempts
from podium_service.pages.group import render_group
from podium_service.pages.operation.again import Again, Choice
from podium_service.pages.operation.people import People, list_items
from podium_service.prompts.wording import DEFAULT_RUBRIC
from podium_service.schemas.history import RankingDetail
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.notes import Notes
from podium_service.telemetry.routes import UI

_NOT_KEPT = "The texts of this group were not kept, so it cannot be {}."


class GroupPages:
    """Reads and shows the groups of one store."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.gold = GoldOrders(site.store)
        self.notes = Notes(site.store)

    async def read(self, ranking_id: str) -> RankingDetail:
        """Return a ranking; raise NotFound if it is not there."""
        detail = await self._site.reader.read_ranking(ranking_id)
        if detail is None:
            raise NotFound(f"no ranking {ranking_id[:64]!r}: it was never made, or pruned")
        return detail

    async def show(
        self,
        request: Request,
        ranking_id: str,
        status: int = 200,
        *,
        picked: Sequence[str] = (),
        beside: str = "",
        again: dict[str, Any] | None = None,
        people: dict[str, Any] | None = None,
    ) -> Response:
        """Return the page of a group.

        Args:
            picked: ids of the attempts to show side by side, of a large group.
            beside: the ask of a later judgment, to show beside the first; "" for the newest.
            again, people: what the forms hold, or why they were refused.

        Raises:
            NotFound: If there is no such ranking.
        """
        site = self._site
        detail = await self.read(ranking_id)
        calls = await site.reader.read_calls(ranking_id) or []
        frame = site.frame(request, "Groups")
        if request.method == "POST":
            frame = replace(frame, path=f"{UI}/rankings/{detail.summary.ask}")
        html = await asyncio.to_thread(
            render_group,
            frame,
            detail,
            calls,
            picked=picked,
            neighbours=await site.reader.list_neighbours(detail.summary),
            reward_method=self._reward_method(detail.summary.judge),
            again=replace(
                await self._read_again(detail, beside, can_act=frame.can_act), **(again or {})
            ),
            people=replace(
                await self._read_people(request, detail, can_act=frame.can_act), **(people or {})
            ),
        )
        return site.page(request, html, status)

    def applied_rubric(self, detail: RankingDetail) -> str:
        """Return the rubric by which a group was judged, as far as one judge alone has one."""
        own = ""
        judge = self._judges().get(detail.summary.judge)
        if isinstance(judge, LLMJudge):
            own = judge.rubric or DEFAULT_RUBRIC
        return (detail.request.rubric if detail.request else None) or own

    async def _read_again(self, detail: RankingDetail, beside: str, *, can_act: bool) -> Again:
        again = await read_again(self._site.reader, detail, beside)
        if not can_act:
            return again
        judges, judge = list(self._judges()), detail.summary.judge
        named = judge if judge in judges else next(iter(judges), "")
        return replace(
            again,
            judges=judges,
            choice=Choice(named, flip_order=False, rubric=self.applied_rubric(detail)),
            refusal="" if detail.request else _NOT_KEPT.format("judged again"),
        )

    async def _read_people(
        self, request: Request, detail: RankingDetail, *, can_act: bool
    ) -> People:
        if not can_act:
            return await read_people(self.gold, self.notes, detail)
        people = await read_people(self.gold, self.notes, detail, person_of(request))
        own = next((each.order for each in people.said if each.is_own), None)
        ids = detail.summary.ids
        can_order = detail.request is not None and len(ids) > 1
        return replace(
            people,
            items=list_items(read_attempts(detail, ()), ids, own) if can_order else (),
            refusal="" if detail.request else _NOT_KEPT.format("put in order"),
            may_remove_all=request.state.key.may("admin"),
        )

    def _judges(self) -> dict[str, Any]:
        service = self._site.service
        return dict(service.ranker.judges.roster.config.judges) if service else {}

    def _reward_method(self, judge: str) -> str | None:
        """Return how a judge's settings make rewards; None if there is no such judge now."""
        settings = self._judges().get(judge)
        return settings.reward if settings else None
