"""What a person does on the page of a group: judge it again, put it in order, write a note."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.errors import InvalidRequest, NotFound, PodiumError
from podium_service.http.access.person import require_person
from podium_service.http.requests.body import validate
from podium_service.http.requests.disconnect import run_while_connected
from podium_service.http.service import Service
from podium_service.http.ui.group_pages import GroupPages
from podium_service.http.ui.site import Site, first, read_form
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.settings import LLMJudge
from podium_service.pages.operation.again import Choice, Price
from podium_service.pages.operation.people import read_tiers
from podium_service.ranking.kinds.estimate import estimate_group, price_note
from podium_service.ranking.methods import METHODS
from podium_service.schemas import RankRequest
from podium_service.schemas.history import RankingDetail
from podium_service.store.asks.ids import parse_ask
from podium_service.telemetry.routes import UI

GROUP = f"{UI}/rankings/{{ranking_id}}"


def action_routes(site: Site, service: Service) -> APIRouter:
    """Return the routes of the forms on the page of a group."""
    router = APIRouter(include_in_schema=False)
    pages = GroupPages(site)
    _add_again(router, site, service, pages)
    _add_order(router, site, pages)
    _add_notes(router, site, pages)
    return router


def _add_again(router: APIRouter, site: Site, service: Service, pages: GroupPages) -> None:
    @router.post(f"{GROUP}/again", name="judge_again")
    async def judge_again(request: Request, ranking_id: str) -> Response:
        fields = await read_form(request)
        require_person(request)
        detail = await pages.read(ranking_id)
        choice = Choice(
            first(fields, "judge"), bool(first(fields, "flip")), first(fields, "rubric")
        )
        again: dict[str, Any] = {"choice": choice}
        try:
            group = group_again(detail, choice, pages.applied_rubric(detail))
            price = again["price"] = await price_of(site, service, choice, group)
            sealed = first(fields, "seal")
            if first(fields, "step") != "send" or not price.is_as_seen(sealed):
                again["is_priced_anew"] = first(fields, "step") == "send" and bool(sealed)
                return await pages.show(request, ranking_id, again=again)
            of = detail.summary.again_of or detail.summary.ask
            request.state.request_context.again_of = parse_ask(of)
            await run_while_connected(request, service.rank(group, request.state))
        except PodiumError as error:
            again |= {"problem": error.detail, "price": None}
            return await pages.show(request, ranking_id, error.status, again=again)
        return site.redirect(f"{UI}/rankings/{of}#again")


def group_again(detail: RankingDetail, choice: Choice, applied_rubric: str) -> RankRequest:
    """Return the request that has a group judged as a person chose.

    It names no run and no step, whose figures are those of the training. A rubric that was not
    edited leaves the other judge its own.

    Raises:
        InvalidRequest: If the group's texts are not kept, or a choice breaks a rule.
    """
    if detail.request is None:
        raise InvalidRequest("the texts of this group were not kept: judge another group again")
    is_edited = _plain(choice.rubric) != _plain(applied_rubric)
    rubric = choice.rubric.replace("\r\n", "\n").strip() if is_edited else detail.request.rubric
    body = detail.request.model_dump(exclude={"judge", "rubric", "flip_order"}, exclude_none=True)
    body |= {"judge": choice.judge, "rubric": rubric or None, "flip_order": choice.flip_order}
    return validate(RankRequest, body | {"metadata": {"prompt_id": detail.summary.prompt_id}})


async def price_of(site: Site, service: Service, choice: Choice, group: RankRequest) -> Price:
    """Return what a choice costs, before anything is asked.

    Raises:
        PodiumError: If there is no such judge, it cannot be asked about the group, or it shows no
            lists, whose order could be flipped.
    """
    roster = service.ranker.judges.roster
    context = RequestContext()
    cost = await estimate_group(roster, choice.judge, group, context)
    if choice.flip_order:
        _require_order(choice.judge, roster.config.judges)
    return Price(
        choice,
        cost,
        is_stored=bool(context.runs) and await site.reader.are_complete(context.runs),
        note=price_note(choice.judge, roster.config.judges),
    )


def _require_order(name: str, judges: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if a judge sees no attempt beside another."""
    judge = judges[name]
    is_alone = isinstance(judge, LLMJudge) and (
        judge.method in METHODS and not METHODS[judge.method].has_order
    )
    if judge.kind == "checks" or is_alone:
        raise InvalidRequest(
            f"{name} looks at each attempt alone, so there is no order to flip: choose another "
            "judge, or leave the order"
        )


def _add_order(router: APIRouter, site: Site, pages: GroupPages) -> None:
    @router.post(f"{GROUP}/order", name="keep_order")
    async def keep_order(request: Request, ranking_id: str) -> Response:
        fields = await read_form(request)
        person = require_person(request)
        summary = (await pages.read(ranking_id)).summary
        try:
            if first(fields, "remove"):
                await pages.gold.remove(summary.ask, person)
            else:
                sent = fields.get("attempt", []), fields.get("place", [])
                try:
                    tiers = read_tiers(summary.ids, *sent)
                except ValueError as error:
                    raise InvalidRequest(f"the order is none: {error}") from None
                await pages.gold.put(summary.ask, tiers, person, is_blind=False)
        except PodiumError as error:
            people = {"order_problem": error.detail}
            return await pages.show(request, ranking_id, error.status, people=people)
        return site.redirect(f"{UI}/rankings/{ranking_id}#order")


def _add_notes(router: APIRouter, site: Site, pages: GroupPages) -> None:
    @router.post(f"{GROUP}/notes", name="write_note")
    async def write_note(request: Request, ranking_id: str) -> Response:
        fields = await read_form(request)
        person = require_person(request)
        summary, text = (await pages.read(ranking_id)).summary, first(fields, "text")
        try:
            if note := first(fields, "remove"):
                owner = None if request.state.key.may("admin") else person
                if not await pages.notes.remove(summary.id, note, owner):
                    raise NotFound("there is no such note of yours: load the page again")
            else:
                await pages.notes.add(summary.id, text, person)
        except PodiumError as error:
            people = {"note_problem": error.detail, "draft": text}
            return await pages.show(request, ranking_id, error.status, people=people)
        return site.redirect(f"{UI}/rankings/{ranking_id}#notes")


def _plain(text: str) -> str:
    """Return a text without what a form changes in it."""
    lines = text.replace("\r\n", "\n").replace("\0", "\ufffd").strip()
    return lines.encode(errors="replace").decode()
