"""Around every request: an id, a log line, the counts, and the API key."""

import re
from collections.abc import Sequence
from hmac import compare_digest
from secrets import token_hex
from time import perf_counter
from typing import Any

import orjson
import structlog
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InternalError, PodiumError, Unauthorized
from service.metrics import Metrics

OPEN_PATHS = ("/livez", "/readyz")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

log = structlog.get_logger(__name__)


def problem_response(error: PodiumError, request_id: str | None) -> Response:
    """An error as application/problem+json."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        orjson.dumps(error.problem(request_id)),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )


def bug(error: Exception) -> InternalError:
    """Log an exception that nobody foresaw, with its traceback, and hide it from the caller."""
    log.error("bug", exc_info=error)
    return InternalError("this is a bug in the service: report it with the request id")


class RequestContext:
    """Gives each request an id (the caller's `X-Request-ID`, if it is a sane one), puts it on the
    response and on every log line, and logs and counts the request when it is done."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        started = perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:  # noqa: BLE001 - the one place where a bug becomes an answer
                answer = problem_response(bug(error), request_id)
                if not status:
                    await answer(scope, receive, send_with_id)
            finally:
                self._done(scope, status or 499, perf_counter() - started)

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        """499 stands for a caller who left before an answer."""
        route = getattr(scope.get("route"), "path", "unrouted")
        self._metrics.request(route, status, seconds)
        if route not in OPEN_PATHS:
            log.info(
                "request", method=scope["method"], route=route, status=status, s=round(seconds, 4)
            )


class RequireKey:
    """Lets a request through if it carries one of the keys, or asks for a probe."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("authorization is not a known key: send `Authorization: Bearer KEY`")
        await problem_response(error, _request_id(scope))(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        key = given.strip().encode()
        known = [compare_digest(key, each) for each in self._keys]  # all, in constant time
        return scheme.lower() == "bearer" and any(known)


def _request_id(scope: Scope) -> Any:
    return scope.get("state", {}).get("request_id")
