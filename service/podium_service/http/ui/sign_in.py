"""Sign in with an API key, sign out, choose a theme; and the static files."""

import mimetypes
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.errors import KeyExpired, NotFound, Unauthorized
from podium_service.http.access.sessions import COOKIE, LIFETIME_S, Sessions
from podium_service.http.ui.site import (
    HEADERS,
    THEME_COOKIE,
    Site,
    first,
    read_form,
    set_cookie,
)
from podium_service.pages.frame import STATIC, read_static, render
from podium_service.telemetry.routes import UI, UI_LOGIN, UI_STATIC

_YEAR_S = 365 * 86_400


def sign_in_routes(site: Site, sessions: Sessions | None) -> APIRouter:
    """Return the routes around the pages.

    Args:
        sessions: None for a store without a service, where nobody signs in.
    """
    router = APIRouter(include_in_schema=False)
    kept: dict[str, Any] = {"max_age": _YEAR_S}

    @router.get(UI_STATIC + "{name}", name="static_file")
    async def static_file(name: str) -> Response:
        if name not in STATIC:
            raise NotFound(f"no static file {name[:64]!r}")
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {**HEADERS, "Cache-Control": f"public, max-age={_YEAR_S}, immutable"}
        return Response(read_static(name), media_type=media_type, headers=headers)

    @router.get(f"{UI}/theme", name="choose_theme")
    async def choose_theme(request: Request, to: str = "", next: str = UI) -> Response:
        response = site.redirect(next)
        if to in ("light", "dark"):
            set_cookie(response, request, site.root_path, THEME_COOKIE, to, **kept)
        return response

    if sessions is None:
        return router

    @router.get(UI_LOGIN, name="sign_in_page")
    async def sign_in_page(request: Request, next: str = UI) -> Response:
        html = render("login", site.frame(request), next=next, problem="")
        return site.page(request, html)

    @router.post(UI_LOGIN, name="sign_in")
    async def sign_in(request: Request) -> Response:
        fields = await read_form(request)
        target = first(fields, "next")
        try:
            cookie = await sessions.open(first(fields, "key"))
        except (Unauthorized, KeyExpired) as error:
            values = {"next": target, "problem": error.detail}
            return site.page(request, render("login", site.frame(request), **values), 401)
        response = site.redirect(target)
        set_cookie(response, request, site.root_path, COOKIE, cookie, max_age=LIFETIME_S)
        return response

    @router.post(f"{UI}/logout", name="sign_out")
    async def sign_out(request: Request) -> Response:
        await read_form(request)
        response = site.redirect(UI_LOGIN)
        response.delete_cookie(COOKIE, path=f"{site.root_path}/", httponly=True, samesite="strict")
        return response

    return router
