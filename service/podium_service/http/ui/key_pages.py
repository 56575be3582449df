"""The page of API keys and of what they cost: make, edit, revoke, and spend as CSV."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service import schemas
from podium_service.errors import InvalidRequest, PodiumError
from podium_service.http.access import api_key_store
from podium_service.http.access.api_key import create_key
from podium_service.http.access.api_key_cache import APIKeyCache
from podium_service.http.admin.keys import key_fields
from podium_service.http.requests.body import validate
from podium_service.http.service import Service
from podium_service.http.ui.site import HEADERS, Site, first, read_form
from podium_service.pages.operation.keys import render_keys
from podium_service.store.history.spend import read_spend, to_csv
from podium_service.telemetry.routes import UI_ADMIN


def key_pages(site: Site, service: Service, api_keys: APIKeyCache) -> APIRouter:
    """Return the routes of the page of keys, which only admins may use."""
    router = APIRouter(include_in_schema=False)
    store = service.store

    async def show_keys(request: Request, status: int = 200, **more: Any) -> Response:
        query = _spend_query(request.query_params)
        keys = await api_key_store.describe_keys(store)
        spend = await read_spend(store, query.by, query.since, query.until)
        frame = site.frame(request, "Keys")
        return site.page(request, render_keys(frame, keys, spend, **more), status)

    @router.get(UI_ADMIN, name="keys_page")
    async def keys_page(request: Request) -> Response:
        return await show_keys(request)

    @router.get(f"{UI_ADMIN}/spend.csv", name="spend_csv")
    async def spend_csv(request: Request) -> Response:
        query = _spend_query(request.query_params)
        text = to_csv(await read_spend(store, query.by, query.since, query.until))
        headers = {**HEADERS, "Content-Disposition": "attachment; filename=spend.csv"}
        return Response(text, media_type="text/csv", headers=headers)

    @router.post(f"{UI_ADMIN}/create", name="create_key_on_page")
    async def create(request: Request) -> Response:
        fields = await read_form(request)
        try:
            asked = validate(schemas.KeyRequest, read_fields(fields))
            key, text = create_key(**key_fields(asked))
        except PodiumError as error:
            return await show_keys(request, error.status, problem=error.detail)
        await api_key_store.add_key(store, key)
        await api_keys.expire()
        return await show_keys(request, created=text)

    @router.post(f"{UI_ADMIN}/edit", name="edit_key_on_page")
    async def edit(request: Request) -> Response:
        fields = await read_form(request)
        try:
            change = validate(schemas.KeyChange, read_fields(fields))
            await api_key_store.edit_key(store, first(fields, "id"), key_fields(change))
        except PodiumError as error:
            return await show_keys(request, error.status, problem=error.detail)
        await api_keys.expire()
        return site.redirect(UI_ADMIN)

    @router.post(f"{UI_ADMIN}/revoke", name="revoke_key_on_page")
    async def revoke(request: Request) -> Response:
        fields = await read_form(request)
        try:
            await api_key_store.revoke_key(store, first(fields, "id"))
        except PodiumError as error:
            return await show_keys(request, error.status, problem=error.detail)
        await api_keys.expire()
        return site.redirect(UI_ADMIN)

    return router


def read_fields(fields: dict[str, list[str]]) -> dict[str, Any]:
    """Return the fields of a form as the body of `POST /keys` has them; an empty one is no limit.

    Raises:
        InvalidRequest: If the day on which a key expires is none.
    """
    usd, minute = first(fields, "usd").strip(), first(fields, "requests_per_minute").strip()
    return {
        "name": first(fields, "name"),
        "owner": first(fields, "owner"),
        "scopes": fields.get("scope") or [],
        "requests_per_minute": minute or None,
        "spend_limit": {"usd": usd, "per": first(fields, "per")} if usd else None,
        "expires_at": _end_of_day(first(fields, "expires").strip()),
    }


def _end_of_day(text: str) -> datetime | None:
    """Return the last second of a day in UTC, on which a key is still good."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d") if text else None
    except ValueError:
        raise InvalidRequest(f"expires {text[:32]!r}: must be a day such as 2027-01-31") from None
    return datetime.combine(day, time(23, 59, 59), UTC) if day else None


def _spend_query(sent: Mapping[str, str]) -> schemas.SpendQuery:
    given = {name: sent[name] for name in ("since", "until") if sent.get(name)}
    return validate(schemas.SpendQuery, {"by": [sent.get("by") or "key"], **given})
