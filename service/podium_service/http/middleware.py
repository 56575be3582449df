"""ASGI middleware around every route: request ids, logs, metrics, and who may ask by which name."""

import asyncio
import re
from collections.abc import Callable, Sequence
from secrets import token_hex
from time import perf_counter

import orjson
import structlog
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium_service.errors import Draining, Forbidden, PodiumError
from podium_service.http.access.api_key import (
    OPEN_PATHS,
    UNRESTRICTED,
    APIKey,
    is_open,
    required_scope,
)
from podium_service.http.access.api_key_cache import APIKeyCache
from podium_service.http.access.hosts import host_name, is_known_host, unknown_host
from podium_service.http.access.sessions import COOKIE, Sessions
from podium_service.http.requests.body_memory import MemoryShare
from podium_service.http.service import Service
from podium_service.judges.dispatch.request_context import RequestContext, Timing
from podium_service.telemetry.logs import report_bug
from podium_service.telemetry.routes import RANK, is_page, route_of, unversioned

CLIENT_CLOSED_REQUEST = 499  # the status in logs and metrics if the caller left before a response
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

log = structlog.get_logger(__name__)


def problem_response(error: PodiumError, scope: Scope) -> Response:
    """Return an error as application/problem+json, and store its code in the request's state.

    `RequestMiddleware` counts the code.
    """
    state = scope["state"]
    state["problem"] = error.code
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        orjson.dumps(error.problem(state["request_id"])),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )


class RequestMiddleware:
    """Gives each request an id, and logs and counts it when it is done.

    The id is the caller's `X-Request-ID` if that is short and plain, else a random one. It is a
    header of the response and a field of every log line of the request.

    The memory of the request's body is taken from the service's budget and released at the end.

    While the service drains, each connection closes after its response, so that the caller's next
    request goes to another server.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent_id = Headers(scope=scope).get("x-request-id", "")
        request_id = sent_id if _REQUEST_ID.fullmatch(sent_id) else token_hex(8)
        request_context = RequestContext()
        body_memory = MemoryShare(self._service.body_memory)
        scope.setdefault("state", {}).update(
            request_id=request_id,
            key=UNRESTRICTED,
            request_context=request_context,
            body_memory=body_memory,
        )
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if unversioned(scope["path"]) == RANK:
                    headers["Server-Timing"] = server_timing(request_context.timing)
                if self._service.draining:
                    headers["Connection"] = "close"
            await send(message)

        started = perf_counter()
        span = self._service.tracing.start_request(scope, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id), span:
            try:
                await self._app(scope, receive, send_with_headers)
            except asyncio.CancelledError:  # by the server, whose grace period has ended
                if status:
                    raise
                draining = Draining("the server stops before an answer came: ask another one")
                await problem_response(draining, scope)(scope, receive, send_with_headers)
            except Exception as error:  # noqa: BLE001 - the one place where a bug becomes an answer
                internal_error = report_bug(error)
                if not status:
                    response = problem_response(internal_error, scope)
                    await response(scope, receive, send_with_headers)
            finally:
                status = status or CLIENT_CLOSED_REQUEST
                span.set_status(status)
                body_memory.release()
                self._record(scope, status, perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        host, _ = scope.get("server") or ("", 0)
        if host.startswith("/"):  # a Unix socket: another worker has passed it on, and records it
            return
        # A request without a valid key never reaches the router, so its route is looked up here.
        route = getattr(scope.get("route"), "path_format", None) or route_of(scope["path"])
        self._service.metrics.count_request(route, status, seconds)
        if code := scope["state"].get("problem"):
            self._service.metrics.count_problem(code)
        if unversioned(route) not in OPEN_PATHS:
            log.info(
                "request", method=scope["method"], route=route, status=status, s=round(seconds, 4)
            )


class CheckHost:
    """Refuses every request to a name that is not the service's (see `access/hosts.py`).

    It also takes `root_path` off the path, for proxies that leave it there.

    Args:
        allowed: names beside those of this machine; if there are any, they are always checked.
        bound: the address to listen on, which is a name of the service, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        api_keys: APIKeyCache,
        allowed: Sequence[str] = (),
        bound: str = "",
        root_path: str = "",
    ) -> None:
        self._app = app
        self._api_keys = api_keys
        self._is_always_checked = bool(allowed)
        self._allowed = {host_name(each) for each in (*allowed, bound) if each}
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._check(Headers(scope=scope).get("host", ""))
            except PodiumError as error:
                await problem_response(error, scope)(scope, receive, send)
                return
            if self._root_path and f"{scope['path']}/".startswith(f"{self._root_path}/"):
                scope["path"] = scope["path"].removeprefix(self._root_path) or "/"
        await self._app(scope, receive, send)

    async def _check(self, header: str) -> None:
        if is_known_host(header, self._allowed):
            return
        if self._is_always_checked or not await self._api_keys.are_required():
            raise unknown_host(header)


class RequireKey:
    """Refuses every request whose API key lacks the scope of its path, except health probes.

    The pages for people take the key of a session, too, and are refused in HTML.

    Args:
        refuse_page: makes the response to a page that may not be seen.
    """

    def __init__(
        self,
        app: ASGIApp,
        api_keys: APIKeyCache,
        refuse_page: Callable[[PodiumError, Scope], Response] = problem_response,
    ) -> None:
        self._app = app
        self._api_keys = api_keys
        self._sessions = Sessions(api_keys)
        self._refuse_page = refuse_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_open(scope["path"]):
            try:
                await self._authorize(scope)
            except PodiumError as error:
                refuse = self._refuse_page if is_page(scope["path"]) else problem_response
                await refuse(error, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _authorize(self, scope: Scope) -> None:
        """Store the request's key in its state, or raise an error if it may not be used here."""
        key = await self._find_key(scope)
        needed = required_scope(scope["path"], scope["method"])
        if not key.may(needed):
            scopes = " and ".join(sorted(key.scopes))
            raise Forbidden(
                f"key {key.name!r} may {scopes}, and this needs {needed}: use another key"
            )
        request_context = scope["state"]["request_context"]
        request_context.api_key_id, request_context.api_key_name = key.id, key.name
        request_context.spend_limit = key.spend_limit
        scope["state"]["key"] = key

    async def _find_key(self, scope: Scope) -> APIKey:
        authorization = Headers(scope=scope).get("authorization", "")
        if is_page(scope["path"]) and not authorization and await self._api_keys.are_required():
            cookie = Request(scope).cookies.get(COOKIE, "")
            return await self._sessions.authenticate(cookie)
        return await self._api_keys.authenticate(authorization)


def server_timing(timing: Timing) -> str:
    """Return the value of a `Server-Timing` header; reading the request counts as overhead."""
    overhead_s = timing.overhead_s  # read first, because reading it updates the other two
    parts = {"queue": timing.queue_s, "judge": timing.judge_s, "overhead": overhead_s}
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in parts.items())
