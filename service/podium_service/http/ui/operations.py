"""The page of API keys: make, list and revoke them."""

from typing import Any, cast, get_args

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.errors import ConfigError, InvalidRequest, NotFound, PodiumError
from podium_service.http.access.api_key import create_key
from podium_service.http.access.api_key_store import add_key, describe_keys, revoke_key
from podium_service.http.service import Service
from podium_service.http.ui.site import Site, first, read_form
from podium_service.pages.operations import render_keys
from podium_service.store.quotas.spend import Period, SpendLimit
from podium_service.telemetry.routes import UI_ADMIN


def operations_routes(site: Site, service: Service) -> APIRouter:
    """Return the routes of the pages that need a service."""
    router = APIRouter(include_in_schema=False)

    async def show_keys(request: Request, status: int = 200, **more: Any) -> Response:
        keys = await describe_keys(service.store)
        frame = site.frame(request, "Keys")
        return site.page(request, render_keys(frame, keys, **more), status)

    @router.get(UI_ADMIN, name="keys_page")
    async def keys_page(request: Request) -> Response:
        return await show_keys(request)

    @router.post(f"{UI_ADMIN}/create", name="create_key_on_page")
    async def create(request: Request) -> Response:
        fields = await read_form(request)
        try:
            key, text = create_key(
                first(fields, "name"),
                fields.get("scope") or ["read"],
                read_number(first(fields, "requests_per_minute")),
                read_limit(first(fields, "usd"), first(fields, "per")),
            )
        except PodiumError as error:
            return await show_keys(request, 422, problem=error.detail)
        await add_key(service.store, key)
        return await show_keys(request, created=text)

    @router.post(f"{UI_ADMIN}/revoke", name="revoke_key_on_page")
    async def revoke(request: Request) -> Response:
        fields = await read_form(request)
        try:
            await revoke_key(service.store, first(fields, "id"))
        except NotFound as error:
            return await show_keys(request, 404, problem=error.detail)
        return site.redirect(UI_ADMIN)

    return router


def read_number(text: str) -> int | None:
    """Return a limit of groups a minute; None for an empty field.

    Raises:
        InvalidRequest: If it is no number from 1 to a million.
    """
    if not text.strip():
        return None
    if not text.strip().isascii() or not text.strip().isdecimal() or not 1 <= int(text) <= 10**6:
        raise InvalidRequest(f"groups a minute {text[:32]!r}: must be 1 to 1,000,000, or empty")
    return int(text)


def read_limit(usd: str, per: str) -> SpendLimit | None:
    """Return a spend limit; None for an empty field.

    Raises:
        InvalidRequest: If it is no amount from a micro-dollar to a billion.
        ConfigError: If the period is none.
    """
    if not usd.strip():
        return None
    if per not in get_args(Period):
        raise ConfigError(f"per {per[:32]!r}: must be one of {', '.join(get_args(Period))}")
    try:
        amount = float(usd)
    except ValueError:
        amount = -1.0
    if not 1e-6 <= amount <= 1e9:
        raise InvalidRequest(f"US dollars {usd[:32]!r}: must be .000001 to 1,000,000,000, or empty")
    return SpendLimit(usd=amount, per=cast(Period, per))
