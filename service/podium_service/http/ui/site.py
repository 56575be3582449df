"""What all routes of pages share: the frame of a request, the headers, and errors as pages."""

from dataclasses import dataclass, replace
from secrets import token_urlsafe
from typing import Any, cast, get_args
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from podium_service import errors
from podium_service.http.access.sessions import COOKIE, csrf_token, require_csrf_token
from podium_service.http.service import Service
from podium_service.pages.frame import Frame, Theme, render
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import SQLStore
from podium_service.telemetry.routes import UI, UI_LOGIN, is_page

FORM_COOKIE = "podium_form"  # stands for a session's cookie where nobody signs in
THEME_COOKIE = "podium_theme"
MAX_FORM_BYTES = 256 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_INSTEAD = {"HX-Retarget": "main", "HX-Reselect": "main", "HX-Reswap": "outerHTML"}
_NO_ADMIN = frozenset({"Keys"})
_NO_SERVICE = frozenset({"Judges", "Keys", "API", "Config"})


@dataclass(frozen=True)
class Site:
    """The parts of the service that pages are made from.

    Attributes:
        reader: what the store keeps.
        store: the store itself.
        service: None for a store without a service, whose pages only show.
        root_path: what proxies put before each path.
    """

    reader: HistoryReader
    store: SQLStore
    service: Service | None = None
    root_path: str = ""

    def frame(self, request: Request, active: str = "") -> Frame:
        """Return the frame of the page that answers a request."""
        key = request.state.key
        theme = request.cookies.get(THEME_COOKIE, "")
        can_act = self.service is not None
        return Frame(
            root=self.root_path,
            can_act=can_act and key.may("rank"),
            is_admin=can_act and key.may("admin"),
            key=_key_name(request) if can_act and COOKIE in request.cookies else None,
            csrf=csrf_token(_form_cookie(request)),
            theme=cast(Theme, theme) if theme in get_args(Theme) else "",
            path=_address(request.scope),
            base_url=f"{_scheme(request)}://{request.url.netloc}{self.root_path}",
            active=active,
            hidden=_NO_SERVICE if not can_act else frozenset() if key.may("admin") else _NO_ADMIN,
        )

    def page(self, request: Request, html: str, status: int = 200) -> Response:
        """Return a page, which no cache keeps."""
        response = HTMLResponse(html, status, headers=HEADERS)
        if COOKIE not in request.cookies and FORM_COOKIE not in request.cookies:
            set_cookie(response, request, self.root_path, FORM_COOKIE, _form_cookie(request))
        return response

    def redirect(self, path: str) -> Response:
        """Return a redirection to one of the pages; to the first one if the path is none."""
        target = path if is_page(path.partition("#")[0].partition("?")[0]) else UI
        return RedirectResponse(
            f"{self.root_path}{quote(target, safe='/?&=%:;,+~-._#')}",
            status_code=303,
            headers=HEADERS,
        )

    def problem(self, error: errors.PodiumError, scope: Scope) -> Response:
        """Return an error as a page; who is not signed in is led to sign in."""
        scope["state"]["problem"] = error.code
        request = Request(scope)
        if isinstance(error, errors.Unauthorized | errors.KeyExpired) and scope["method"] == "GET":
            response = self.redirect(f"{UI_LOGIN}?next={quote(_address(scope), safe='')}")
            if request.headers.get("hx-request"):  # else its part alone would become this page
                address = response.headers["location"]
                return Response(status_code=401, headers={**HEADERS, "HX-Redirect": address})
            return response
        frame = replace(self.frame(request), path=UI)
        html = render("problem", frame, error=error, request_id=scope["state"]["request_id"])
        response = self.page(request, html, error.status)
        if request.headers.get("hx-request"):  # the part that was asked for is not in this page
            response.headers.update(_INSTEAD)
        return response


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form that was sent from one of these pages.

    Raises:
        BodyTooLarge: If it has more than `MAX_FORM_BYTES`.
        Forbidden: If it was not sent from a page of this session.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise errors.BodyTooLarge(f"the form has more than {MAX_FORM_BYTES} bytes: shorten it")
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=2000)
    if Headers(scope=request.scope).get("sec-fetch-site", "same-origin") != "same-origin":
        raise errors.Forbidden("the form was sent from another site: send it from its own page")
    require_csrf_token(sent_cookie(request), fields.pop("csrf", [""])[0])
    return fields


def first(fields: dict[str, list[str]], name: str) -> str:
    """Return the first value of a field, or ""."""
    return fields.get(name, [""])[0]


def sent_cookie(request: Request) -> str:
    """Return the cookie that the forms of a session are bound to; "" if none was sent."""
    return request.cookies.get(COOKIE) or request.cookies.get(FORM_COOKIE) or ""


def set_cookie(
    response: Response, request: Request, root: str, name: str, value: str, **settings: Any
) -> None:
    """Set a cookie that no script and no other site can use."""
    response.set_cookie(
        name,
        value,
        path=f"{root}/",
        httponly=True,
        samesite="strict",
        secure=_scheme(request) == "https",
        **settings,
    )


def _form_cookie(request: Request) -> str:
    """Return the cookie of the forms, a new one for a browser that has none."""
    if not (cookie := sent_cookie(request)):
        if not hasattr(request.state, "form_cookie"):
            request.state.form_cookie = token_urlsafe(18)
        cookie = request.state.form_cookie
    return cookie


def _key_name(request: Request) -> str:
    return request.state.key.name or "of the environment"


def _address(scope: Scope) -> str:
    """Return the path and query of a request as an address has them, without the root path."""
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"]) + (f"?{query}" if query else "")


def _scheme(request: Request) -> str:
    """Return https also behind a proxy that ends TLS; a lie can only make cookies safer."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" if forwarded == "https" else request.url.scheme
