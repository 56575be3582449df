"""The HTTP face: routes that hand over to `Ranker` and `SQLStore`. Built, never a global."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from podium_service import __version__
from podium_service.errors import (
    Draining,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PodiumError,
    StoreUnavailable,
)
from podium_service.http.api_key import count_request
from podium_service.http.api_key_store import APIKeyCache, describe_keys
from podium_service.http.batch import rank_all
from podium_service.http.body import read_json, validated
from podium_service.http.middleware import RequestMiddleware, RequireKey, problem_response
from podium_service.http.openapi import described, json_body, problem_answers
from podium_service.http.service import Service
from podium_service.ranking.deadline import Deadline
from podium_service.schemas import (
    MAX_BATCH_BODY_BYTES,
    MAX_BODY_BYTES,
    BatchRequest,
    Ranking,
    RankRequest,
)
from podium_service.telemetry import routes
from podium_service.tracebacks import drop_locals_on_error

_GUARDED = problem_answers(401, 403, 503)  # whose key it is, the store tells
_PING_S = 2.0  # a probe that waits for a frozen store tells nothing

T = TypeVar("T")

log = structlog.get_logger(__name__)


def create_app(service: Service, *, api_keys: Sequence[str] = ()) -> FastAPI:
    """Build the app. Without `api_keys` and keys in the store, whoever reaches it may use it."""
    app = FastAPI(
        title="Podium",
        version=__version__,
        openapi_url=routes.OPENAPI,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_probes(service))
    app.include_router(_rankings(service))
    app.include_router(_keys(service))
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    app.add_exception_handler(PodiumError, _answer_podium_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_middleware(RequireKey, api_keys=APIKeyCache(service.store, api_keys))
    app.add_middleware(
        RequestMiddleware,
        metrics=service.metrics,
        tracing=service.tracing,
        body_memory=service.body_memory,
        draining=lambda: service.draining,
    )
    return app


def _probes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get(routes.LIVEZ)
    async def livez() -> dict[str, str]:
        """The process runs."""
        return {"status": "live"}

    @router.get(routes.READYZ, responses=problem_answers(503))
    async def readyz() -> dict[str, str]:
        """Requests may be sent: the store answers, and the server is not about to go."""
        if service.draining:
            raise Draining("the server is about to stop: send requests to another one")
        try:
            async with asyncio.timeout(_PING_S):
                await service.store.ping()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"the store gave no answer in {_PING_S:g} s: check its disk and its server"
            ) from error
        return {"status": "ready"}

    @router.get(routes.METRICS, response_class=Response, responses=_GUARDED)
    async def metrics() -> Response:
        """Prometheus series."""
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4")

    return router


def _rankings(service: Service) -> APIRouter:
    router = APIRouter(responses=_GUARDED)
    refusals = problem_answers(400, 402, 408, 413, 415, 422, 429, 431)

    @router.post(
        routes.RANK,
        response_model=Ranking,
        openapi_extra=json_body(RankRequest),
        responses=refusals | problem_answers(502, 504),
    )
    async def rank(request: Request) -> Response:
        """Rank one group: rewards in the order of its trajectories, or one typed problem."""
        group = validated(RankRequest, await read_json(request, MAX_BODY_BYTES))
        ranking = await _unless_gone(request, _ranked(service, group, request.state))
        return Response(ranking.model_dump_json(), media_type="application/json")

    @router.post(
        routes.RANK_BATCH,
        response_class=StreamingResponse,
        openapi_extra=json_body(BatchRequest),
        responses=refusals | {200: {"content": {"application/x-ndjson": {"schema": _LINE}}}},
    )
    async def rank_batch(request: Request) -> StreamingResponse:
        """Rank many groups: one line each, as it finishes. A bad group fails its own line only."""
        batch = validated(BatchRequest, await read_json(request, MAX_BATCH_BODY_BYTES))
        state, quotas = request.state, service.store.quotas
        lines = rank_all(
            service.ranker, batch, state.request_id, state.key, quotas, service.metrics
        )
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @router.get(routes.RANKING, responses=problem_answers(404))
    async def ranking(ranking_id: str) -> Ranking:
        """A past ranking, as its first caller got it: same content, same id, that caller's ids."""
        if len(ranking_id) > 64 or "\0" in ranking_id:
            raise InvalidRequest("ranking_id: at most 64 characters, no NUL")
        found = await service.store.read_ranking(ranking_id)
        if found is None:
            raise NotFound(f"no ranking {ranking_id!r}: it was never made, or pruned")
        return Ranking.model_validate(found["answer"])

    @router.get(routes.JUDGES)
    async def judges() -> dict[str, Any]:
        """The judges configured, without secrets, and whether each one answers now."""
        return {"judges": await service.ranker.judges.describe()}

    return router


def _keys(service: Service) -> APIRouter:
    router = APIRouter(responses=_GUARDED)

    @router.get(routes.KEYS)
    async def keys() -> dict[str, Any]:
        """The API keys ever made, without their secrets, and what each has spent."""
        return {"keys": await describe_keys(service.store)}

    return router


async def _ranked(service: Service, group: RankRequest, state: State) -> Ranking:
    """Count and rank one group; its deadline starts now, that its body has been read."""
    deadline = Deadline.after(group.deadline_s)
    await count_request(state.key, service.store.quotas, deadline)
    return await service.ranker.rank(group, deadline, state.request_context)


_LINE = {"$ref": "#/components/schemas/BatchLine"}


@drop_locals_on_error
async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, but cancel it when the caller hangs up.

    Raises:
        ClientDisconnect: If the caller did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # the body is read: next is the disconnect
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


async def _answer_podium_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PodiumError)
    # Others may quote the caller, or a judge who quotes a trajectory: the answer says that, no log.
    detail = error.detail if isinstance(error, StoreUnavailable) else None
    log.info("problem", code=error.code, detail=detail)
    return problem_response(error, request.scope)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.url.path[:128], request.method[:16]
    if error.status_code == 405:
        answer: PodiumError = MethodNotAllowed(f"{method} {path}: see /openapi.json")
    else:
        answer = NotFound(f"{method} {path}: see /openapi.json")
    response = problem_response(answer, request.scope)
    response.headers.update(error.headers or {})
    return response


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """The caller hung up; 499 is for the log."""
    return Response(status_code=499)
