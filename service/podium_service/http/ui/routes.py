"""The pages that show what the store keeps; each route reads models and renders them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from podium_service.errors import NotFound
from podium_service.http.ui.gold_routes import gold_routes
from podium_service.http.ui.group_pages import GroupPages
from podium_service.http.ui.judge_routes import failure_routes
from podium_service.http.ui.site import HEADERS, Site
from podium_service.pages.groups import first_curl, render_groups
from podium_service.pages.runs.prompt import render_prompt
from podium_service.pages.runs.run import render_run, render_runs
from podium_service.store.history.filters import (
    RankingFilters,
    chosen_filters,
    read_filters,
)
from podium_service.telemetry.routes import HOME, UI

PAGE_ROWS = 50
PLOTTED_GROUPS = 40
DRAWN_GROUPS = 300  # of one prompt
EXCERPT_ROWS = 24
MAX_EXPORTED = 5000


def page_routes(site: Site) -> APIRouter:
    """Return the routes of the pages that need only a store."""
    router = APIRouter(include_in_schema=False)
    _add_group_pages(router, site)
    _add_run_pages(router, site)
    router.include_router(failure_routes(site))
    router.include_router(gold_routes(site))
    return router


def _add_group_pages(router: APIRouter, site: Site) -> None:
    pages = GroupPages(site)

    @router.get(HOME, name="home")
    async def home() -> Response:
        return site.redirect(UI)

    @router.get(UI, name="groups_page")
    async def groups_page(request: Request, cursor: str | None = None) -> Response:
        chosen = chosen_filters(request.query_params)
        page = await site.reader.list_rankings(read_filters(chosen), cursor, PAGE_ROWS)
        frame = site.frame(request, "Groups")
        html = render_groups(
            frame,
            page,
            chosen,
            cursor=cursor,
            judges=_judge_names(site),
            curl=first_curl(frame.base_url),
        )
        return site.page(request, html)

    @router.get(f"{UI}/export.jsonl", name="export_groups")
    async def export_groups(request: Request) -> Response:
        filters = read_filters(chosen_filters(request.query_params))
        headers = {**HEADERS, "Content-Disposition": "attachment; filename=groups.jsonl"}
        lines = export_lines(site, filters)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    @router.get(f"{UI}/rankings/{{ranking_id}}", name="group_page")
    async def group_page(
        request: Request,
        ranking_id: str,
        attempt: Annotated[list[str] | None, Query()] = None,
        beside: str = "",
    ) -> Response:
        return await pages.show(request, ranking_id, picked=attempt or [], beside=beside)

    @router.get(f"{UI}/rankings/{{ranking_id}}/json", name="group_as_json")
    async def group_as_json(ranking_id: str) -> Response:
        detail = await pages.read(ranking_id)
        text = detail.model_dump_json(exclude_none=True)
        return Response(text, media_type="application/json", headers=HEADERS)


def _add_run_pages(router: APIRouter, site: Site) -> None:
    @router.get(f"{UI}/runs", name="runs_page")
    async def runs_page(request: Request, cursor: str | None = None) -> Response:
        page = await site.reader.list_runs(cursor, PAGE_ROWS)
        frame = site.frame(request, "Runs")
        curl = first_curl(frame.base_url, {"run": "my-run", "step": 0})
        return site.page(request, render_runs(frame, page, cursor=cursor, curl=curl))

    @router.get(f"{UI}/runs/{{run:path}}", name="run_page")
    async def run_page(request: Request, run: str, other: str = "") -> Response:
        detail = await site.reader.read_run(run)
        if detail is None:
            raise NotFound(f"no run {run[:64]!r}: no group names it in its metadata")
        recent = await site.reader.list_rankings(RankingFilters(run=run), limit=PLOTTED_GROUPS)
        html = await asyncio.to_thread(
            render_run,
            site.frame(request, "Runs"),
            detail,
            other=await site.reader.read_run(other) if other else None,
            others=await site.reader.list_run_names(),
            groups=recent.rankings,
            prompts=await site.reader.list_prompts(run),
        )
        return site.page(request, html)

    @router.get(f"{UI}/prompt", name="prompt_page")
    async def prompt_page(
        request: Request, run: str = "", id: str = "", cursor: str | None = None
    ) -> Response:
        filters = RankingFilters(run=run, prompt_id=id)
        drawn = await site.reader.list_rankings(filters, limit=DRAWN_GROUPS)
        if not drawn.rankings:
            raise NotFound(f"no group of run {run[:64]!r} has the prompt {id[:64]!r}")
        page = await site.reader.list_rankings(filters, cursor, EXCERPT_ROWS)
        details = await site.reader.read_rankings([each.ask for each in page.rankings])
        frame = site.frame(request, "Runs")
        html = await asyncio.to_thread(
            render_prompt,
            frame,
            run,
            id,
            drawn.rankings,
            details,
            next_url=frame.url(f"{UI}/prompt", run=run, id=id, cursor=page.next)
            if page.next
            else "",
            first_url=frame.url(f"{UI}/prompt", run=run, id=id) if cursor else "",
        )
        return site.page(request, html)


async def export_lines(site: Site, filters: RankingFilters) -> AsyncIterator[str]:
    """Yield each group with its ranking as a line of JSON, the newest first."""
    cursor, left = None, MAX_EXPORTED
    while left > 0:
        page = await site.reader.list_rankings(filters, cursor, min(PAGE_ROWS, left))
        for detail in await site.reader.read_rankings([each.ask for each in page.rankings]):
            yield detail.model_dump_json(exclude_none=True) + "\n"
        left -= len(page.rankings)
        cursor = page.next
        if cursor is None:
            return


def _judge_names(site: Site) -> list[str]:
    return list(site.service.ranker.judges.roster.config.judges) if site.service else []
