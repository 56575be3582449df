"""The pages on judges: their state now, how they agree, and what failed."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.errors import InvalidRequest, NotFound
from podium_service.http.service import Service
from podium_service.http.ui.site import Site
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.settings import JuryJudge, LLMJudge
from podium_service.pages.operation.compare import render_compare
from podium_service.pages.operation.failures import render_failures
from podium_service.pages.operation.judges import EndpointState, JudgeState, render_judges
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.judging import JudgingReader
from podium_service.store.quotas.spend import SpendAccount
from podium_service.telemetry.routes import UI

PAGE_ROWS = 50
MAX_COMPARED = 12  # judges
_MAX_CARD_BYTES = 4 * 1024 * 1024


def failure_routes(site: Site) -> APIRouter:
    """Return the routes of the pages that need only a store."""
    router = APIRouter(include_in_schema=False)
    reader = JudgingReader(site.store)

    @router.get(f"{UI}/failures", name="failures_page")
    async def failures_page(
        request: Request,
        code: str = "",
        judge: str = "",
        cursor: str | None = None,
        before: str | None = None,
    ) -> Response:
        filters = RankingFilters(outcome="failed", code=code or None, judge=judge or None)
        faults, more_before = await reader.list_faults(judge or None, _moment(before), PAGE_ROWS)
        html = render_failures(
            site.frame(request, "Failures"),
            await reader.count_failures(),
            await site.reader.list_rankings(filters, cursor, PAGE_ROWS),
            faults,
            code=code,
            judge=judge,
            cursor=cursor,
            before=before,
            more_before=more_before,
        )
        return site.page(request, html)

    @router.get(f"{UI}/failures/{{call_id}}", name="group_of_call")
    async def group_of_call(call_id: str) -> Response:
        if (ask := await reader.find_group(call_id)) is None:
            raise NotFound(f"no group of call {call_id[:64]!r} is kept: it was pruned")
        return site.redirect(f"{UI}/rankings/{ask}")

    @router.get(f"{UI}/compare", name="compare_page")
    async def compare_page(request: Request, a: str = "", b: str = "") -> Response:
        names = (await reader.list_judges())[:MAX_COMPARED]
        ranked = {name: await reader.list_ranked(name) for name in names}
        html = await asyncio.to_thread(render_compare, site.frame(request, "Judges"), ranked, a, b)
        return site.page(request, html)

    return router


def judge_routes(site: Site, service: Service) -> APIRouter:
    """Return the route of the page of judges, which needs a service."""
    router = APIRouter(include_in_schema=False)
    reader = JudgingReader(site.store)

    @router.get(f"{UI}/judges", name="judges_page")
    async def judges_page(request: Request, probe: str = "") -> Response:
        probed = await service.ranker.judges.describe() if probe else []
        html = await asyncio.to_thread(
            render_judges,
            site.frame(request, "Judges"),
            await read_states(service, probed),
            await reader.list_calls(),
            await reader.list_past_groups(),
            is_probed=bool(probed),
            is_refused=service.ranker.judges.refusal is not None,
        )
        return site.page(request, html)

    return router


async def read_states(service: Service, probed: list[dict[str, Any]]) -> list[JudgeState]:
    """Return the state of each configured judge; `probed` is what `GET /judges` says, or empty."""
    config = service.ranker.judges.roster.config
    probes = {each["name"]: {p["base_url"]: p for p in each["endpoints"]} for each in probed}
    return [
        await _read_state(service, name, is_default=name == config.default_judge,
                          probes=probes.get(name, {}))
        for name in config.judges
    ]  # fmt: skip


async def _read_state(
    service: Service, name: str, *, is_default: bool, probes: Mapping[str, Any]
) -> JudgeState:
    roster = service.ranker.judges.roster
    settings, llm = roster.config.judges[name], roster.llms.get(name)
    if not isinstance(settings, LLMJudge) or llm is None:
        members = settings.members if isinstance(settings, JuryJudge) else ()
        return JudgeState(name, is_default, settings.kind, members=members)
    spent = None
    if limit := settings.spend:
        account = SpendAccount(f"judge:{name}", limit.usd, limit.per)
        spending = await service.store.quotas.read_spending([account], at=time.time())
        spent = spending[account].settled
    return JudgeState(
        name,
        is_default,
        settings.kind,
        settings.model,
        settings.method,
        endpoints=[_endpoint(each, probes.get(each.base_url)) for each in llm.endpoints],
        waiting=llm.queues.admission.num_queued,
        limit_usd=limit.usd if limit else None,
        per=limit.per if limit else "",
        spent_usd=spent,
        card=await asyncio.to_thread(_read_card, settings.card) if settings.card else None,
    )


def _endpoint(endpoint: Endpoint, probe: Mapping[str, Any] | None) -> EndpointState:
    state = "ready"
    if endpoint.out_of_credit is not None:
        state = "out of credit"
    elif endpoint.breaker.is_open:
        left_s = endpoint.wait_s()
        state = (
            f"breaker open, {left_s:.0f} s left" if left_s else "breaker open, the next call tries"
        )
    elif pause_s := endpoint.pause_s():
        state = f"paused for {pause_s:.0f} s"
    failure = endpoint.out_of_credit or endpoint.last_failure
    return EndpointState(
        endpoint.base_url, endpoint.concurrency.limit, endpoint.num_active, state, failure, probe
    )


def _read_card(path: str) -> dict[str, Any] | None:
    """Return the card at a path; None if there is none any more."""
    try:
        card = orjson.loads(Path(path).read_bytes()[:_MAX_CARD_BYTES])
    except (OSError, orjson.JSONDecodeError):
        return None
    return card if isinstance(card, dict) else None


def _moment(text: str | None) -> float | None:
    """Return a moment in an address.

    Raises:
        InvalidRequest: If it is no number.
    """
    try:
        return float(text) if text else None
    except ValueError:
        raise InvalidRequest(
            f"before is {(text or '')[:64]!r}: follow the page's own link"
        ) from None
