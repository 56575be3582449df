"""The pages of gold: sets of groups, putting them in order blindly, and judges against people."""

import asyncio
from hashlib import sha256
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.errors import NotFound
from podium_service.http.access.person import person_of, require_person
from podium_service.http.ui.site import Site, first, read_form
from podium_service.pages.gold.blind import read_tiers, render_blind
from podium_service.pages.gold.gold import render_gold
from podium_service.store.asks.ids import parse_ask
from podium_service.store.history.filters import chosen_filters, read_filters
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.gold_sets import GoldSets
from podium_service.telemetry.routes import UI

MAX_ORDERS = 1000  # the newest; `podium calibrate --gold` takes all


def gold_routes(site: Site) -> APIRouter:
    """Return the routes that need only a store."""
    router = APIRouter(include_in_schema=False)
    sets, gold = GoldSets(site.store), GoldOrders(site.store)

    @router.get(f"{UI}/gold", name="gold_page")
    async def gold_page(request: Request, judge: str = "") -> Response:
        orders = await gold.list_newest(MAX_ORDERS)
        asks = {ask for each in orders if (ask := parse_ask(each.ask)) is not None}
        judges = site.service.ranker.judges.roster.config.judges if site.service else ()
        html = await asyncio.to_thread(
            render_gold,
            site.frame(request, "Gold"),
            await sets.list_sets(person_of(request)),
            orders,
            await sets.list_judged(asks) if asks else [],
            chosen=judge,
            is_cut_off=len(orders) == MAX_ORDERS,
            judges=list(judges),
        )
        return site.page(request, html)

    @router.get(f"{UI}/gold/rank", name="blind_page")
    async def blind_page(request: Request, set: str = "", after: str = "") -> Response:
        person = person_of(request)
        members = await sets.list_members(set, person)
        if not members:
            raise NotFound(f"no gold set {set[:64]!r}: save groups of a filter as one")
        asks = [each.ask for each in members]
        start = asks.index(after) + 1 if after in asks else 0
        left = [each for each in members[start:] + members[:start] if not each.is_ordered]
        left = [each for each in left if each.ask != after] or left
        for member in left:
            detail = await site.reader.read_ranking(member.ask)
            if detail is not None and detail.request is not None:
                seed = sha256(member.transcript + person.api_key_id.encode()).hexdigest()
                html = await asyncio.to_thread(
                    render_blind,
                    site.frame(request, "Gold"),
                    detail,
                    name=set,
                    seed=seed,
                    done=sum(each.is_ordered for each in members),
                    groups=len(members),
                )
                return site.page(request, html)
        return site.redirect(f"{UI}/gold")

    if site.service is not None:
        _add_actions(router, site, sets, gold)
    return router


def _add_actions(router: APIRouter, site: Site, sets: GoldSets, gold: GoldOrders) -> None:
    @router.post(f"{UI}/gold/add", name="add_gold_set")
    async def add(request: Request) -> Response:
        fields = await read_allowed(request)
        sent = {name: values[0] for name, values in fields.items()}
        await sets.add(sent.get("set", ""), read_filters(chosen_filters(sent)))
        return site.redirect(f"{UI}/gold")

    @router.post(f"{UI}/gold/remove", name="remove_gold_set")
    async def remove(request: Request) -> Response:
        await sets.remove(first(await read_allowed(request), "set"))
        return site.redirect(f"{UI}/gold")

    @router.post(f"{UI}/gold/order", name="order_blindly")
    async def order(request: Request) -> Response:
        fields = await read_allowed(request)
        ask, name = first(fields, "ask"), first(fields, "set")
        detail = await site.reader.read_ranking(ask)
        if detail is None:
            raise NotFound(f"no ranking {ask[:64]!r}: it was never made, or pruned")
        ids = detail.summary.ids
        places = {index: first(fields, f"place-{index}") for index in range(len(ids))}
        await gold.put(ask, read_tiers(ids, places), person_of(request), is_blind=True)
        return site.redirect(f"{UI}/gold/rank?{urlencode({'set': name})}")


async def read_allowed(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form, from a key that may rank.

    Raises:
        Forbidden: If the key may only read.
    """
    fields = await read_form(request)
    require_person(request)
    return fields
