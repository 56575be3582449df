"""Around every request: an id, a log line, the counts, the times, and the API key."""

import asyncio
import re
from collections.abc import Callable
from secrets import token_hex
from time import perf_counter

import orjson
import structlog
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium_service.errors import Draining, Forbidden, InternalError, PodiumError, Unauthorized
from podium_service.http.api_key import OPEN_PATHS, UNRESTRICTED, required_scope
from podium_service.http.api_key_store import APIKeyCache
from podium_service.http.body_memory import MemoryBudget
from podium_service.judges.dispatch.request_context import RequestContext, Timing
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.routes import RANK, route_of
from podium_service.telemetry.tracing import Tracing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

log = structlog.get_logger(__name__)


def problem_response(error: PodiumError, scope: Scope) -> Response:
    """An error as application/problem+json, and noted in the request's state, to be counted."""
    state = scope["state"]
    state["problem"] = error.code
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        orjson.dumps(error.problem(state["request_id"])),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )


def bug(error: Exception) -> InternalError:
    """Log an exception that nobody foresaw, with its traceback, and hide it from the caller."""
    log.error("bug", exc_info=error)
    return InternalError("this is a bug in the service: report it with the request id")


class RequestMiddleware:
    """Gives each request an id (the caller's `X-Request-ID`, if it is a sane one), puts it on the
    response and on every log line, and logs and counts the request when it is done. The memory
    that its body takes is `body_memory`'s until then.

    While the service is `draining`, connections end with their answers: the next request of the
    caller goes to another server.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        tracing: Tracing,
        body_memory: MemoryBudget,
        draining: Callable[[], bool],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._body_memory = body_memory
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else token_hex(8)
        request_context, place = RequestContext(), self._body_memory.place()
        scope.setdefault("state", {}).update(
            request_id=request_id, key=UNRESTRICTED, request_context=request_context, place=place
        )
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if scope["path"] == RANK:
                    headers["Server-Timing"] = server_timing(request_context.timing)
                if self._draining():
                    headers["Connection"] = "close"
            await send(message)

        started = perf_counter()
        span = self._tracing.start_request(scope, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id), span:
            try:
                await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:  # not by the caller: the server waits no longer
                if status:
                    raise
                error = Draining("the server stops before an answer came: ask another one")
                await problem_response(error, scope)(scope, receive, send_with_id)
            except Exception as error:  # noqa: BLE001 - the one place where a bug becomes an answer
                found = bug(error)
                if not status:
                    await problem_response(found, scope)(scope, receive, send_with_id)
            finally:
                span.set_status(status or 499)
                place.leave()
                self._done(scope, status or 499, perf_counter() - started)

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        """499 stands for a caller who left before an answer; who was not let in was not routed."""
        route = getattr(scope.get("route"), "path", None) or route_of(scope["path"])
        self._metrics.count_request(route, status, seconds)
        if code := scope["state"].get("problem"):
            self._metrics.count_problem(code)
        if route not in OPEN_PATHS:
            log.info(
                "request", method=scope["method"], route=route, status=status, s=round(seconds, 4)
            )


class RequireKey:
    """Lets a request through if its key may ask for what it asks, or if it asks for a probe."""

    def __init__(self, app: ASGIApp, api_keys: APIKeyCache) -> None:
        self._app = app
        self._api_keys = api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                await self._admit(scope)
            except PodiumError as error:
                await problem_response(error, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        """Note whose request it is.

        Raises:
            PodiumError: If it is not to be answered: 401, 403, or 503 without the store.
        """
        key = await self._api_keys.authenticate(Headers(scope=scope).get("authorization", ""))
        needed = required_scope(scope["path"])
        if not key.may(needed):
            may = " and ".join(sorted(key.scopes))
            raise Forbidden(f"key {key.name!r} may {may}, and this needs {needed}: use another key")
        request_context = scope["state"]["request_context"]
        request_context.key, request_context.spend_limit = key.id, key.spend_limit
        scope["state"]["key"] = key


def server_timing(timing: Timing) -> str:
    """The value of a `Server-Timing` header; reading the request counts as overhead."""
    overhead_s = timing.overhead_s  # brings the others up to date
    parts = {"queue": timing.queue_s, "judge": timing.judge_s, "overhead": overhead_s}
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in parts.items())
