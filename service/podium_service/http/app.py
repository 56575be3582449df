"""The HTTP routes of the service, as an app built for one `Service`."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from podium_service import __version__, errors, schemas
from podium_service.http import middleware
from podium_service.http.access.api_key_cache import APIKeyCache
from podium_service.http.access.sessions import Sessions
from podium_service.http.admin.keys import key_routes
from podium_service.http.admin.spend import spend_routes
from podium_service.http.batch import rank_all
from podium_service.http.bridge.routes import TRAINER_BODIES, bridge_routes
from podium_service.http.history.people import people_routes
from podium_service.http.history.stored import history_routes
from podium_service.http.openapi import examples
from podium_service.http.openapi.document import (
    json_body,
    lines_response,
    openapi_document,
    problem_responses,
    ranking_response,
)
from podium_service.http.requests.body import read_json, validate
from podium_service.http.requests.disconnect import run_while_connected
from podium_service.http.service import Service
from podium_service.http.ui.action_routes import action_routes
from podium_service.http.ui.judge_routes import judge_routes
from podium_service.http.ui.key_pages import key_pages
from podium_service.http.ui.routes import page_routes
from podium_service.http.ui.service_routes import service_routes
from podium_service.http.ui.sign_in import sign_in_routes
from podium_service.http.ui.site import Site
from podium_service.store.history.reader import HistoryReader
from podium_service.telemetry import routes

_KEY_PROBLEMS = problem_responses(401, 403, 503)  # 503, because checking a key needs the store
_PING_S = 2.0  # shorter than the timeouts of usual probes, so that they get the reason

log = structlog.get_logger(__name__)


def create_app(
    service: Service,
    *,
    api_keys: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    bound_host: str = "",
    root_path: str = "",
) -> FastAPI:
    """Build the app.

    Args:
        api_keys: texts of keys with every scope and no limits. If there are none, and no keys in
            the store either, every request is allowed.
        allowed_hosts: names of the service beside those of this machine; see `access/hosts.py`.
        bound_host: the address on which it listens.
        root_path: the path that a proxy puts before each of the service's.
    """
    root_path = "/" + root_path.strip("/") if root_path.strip("/") else ""
    keys = APIKeyCache(service.store, api_keys)
    site = Site(HistoryReader(service.store), service.store, service, root_path)
    app = FastAPI(
        title="Podium",
        version=__version__,
        openapi_url=routes.OPENAPI,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": root_path}] if root_path else None,
        generate_unique_id_function=_operation_id,
    )
    routers = [
        _routes_with_key(service),
        _probe_routes(service),
        bridge_routes(service),
        history_routes(service),
        people_routes(service),
        key_routes(service, keys),
        spend_routes(service),
    ]
    pages = [
        sign_in_routes(site, Sessions(keys)),
        page_routes(site),
        action_routes(site, service),
        judge_routes(site, service),
        key_pages(site, service, keys),
        service_routes(site, service, lambda: app.openapi()),
    ]
    _add_routes(app, routers, pages)
    # FastAPI names this way to change the document.
    app.openapi = lambda: openapi_document(app, TRAINER_BODIES)  # type: ignore[method-assign]
    _add_error_handlers(app, site)
    app.add_middleware(middleware.RequireKey, api_keys=keys, refuse_page=site.problem)
    app.add_middleware(
        middleware.CheckHost,
        api_keys=keys,
        allowed=allowed_hosts,
        bound=bound_host,
        root_path=root_path,
    )
    app.add_middleware(middleware.RequestMiddleware, service=service)
    return app


def _add_error_handlers(app: FastAPI, site: Site) -> None:
    app.add_exception_handler(errors.PodiumError, partial(_handle_podium_error, site))
    app.add_exception_handler(HTTPException, partial(_handle_http_error, site))
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)


def _add_routes(app: FastAPI, routers: Sequence[APIRouter], pages: Sequence[APIRouter]) -> None:
    """Add all routes, and those of `routers` below `V1`, too."""
    for router in (*routers, *pages):
        app.router.routes += router.routes  # not included, which would build each one again
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.unique_id = _operation_id(route)
    for router in routers:
        app.include_router(router, prefix=routes.V1)


def _operation_id(route: APIRoute) -> str:
    """Return the name of an operation, `v1_rank` for `/v1/rank`."""
    return route.name if routes.unversioned(route.path) == route.path else f"v1_{route.name}"


def _probe_routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get(routes.LIVEZ)
    async def livez() -> dict[str, str]:
        """Tell that the process runs."""
        return {"status": "live"}

    @router.get(routes.READYZ, responses=problem_responses(503))
    async def readyz() -> dict[str, str]:
        """Tell whether requests may be sent: the store answers, and the server is not stopping."""
        if service.draining:
            raise errors.Draining("the server is about to stop: send requests to another one")
        try:
            async with asyncio.timeout(_PING_S):
                await service.store.ping()
        except TimeoutError as error:
            raise errors.StoreUnavailable(
                f"the store gave no answer in {_PING_S:g} s: check its disk and its server"
            ) from error
        return {"status": "ready"}

    @router.get(routes.METRICS, response_class=Response, responses=_KEY_PROBLEMS)
    async def metrics() -> Response:
        """Return the metrics in Prometheus's text format."""
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4")

    return router


def _routes_with_key(service: Service) -> APIRouter:
    router = APIRouter(responses=_KEY_PROBLEMS)
    refusals = problem_responses(400, 402, 408, 413, 415, 422, 429, 431)

    @router.post(
        routes.RANK,
        response_model=schemas.Ranking,
        openapi_extra=json_body(schemas.RankRequest, examples.GROUP),
        responses=refusals | problem_responses(502, 504) | ranking_response(),
    )
    async def rank(request: Request) -> Response:
        """Rank one group, and return a result per trajectory in the order of the request."""
        group = validate(schemas.RankRequest, await read_json(request, schemas.MAX_BODY_BYTES))
        ranking = await run_while_connected(request, service.rank(group, request.state))
        return Response(ranking.model_dump_json(), media_type="application/json")

    @router.post(
        routes.RANK_BATCH,
        response_class=StreamingResponse,
        openapi_extra=json_body(schemas.BatchRequest, examples.BATCH),
        responses=refusals | lines_response(),
    )
    async def rank_batch(request: Request) -> StreamingResponse:
        """Rank many groups, and stream one line per group in the order in which they finish.

        A group that cannot be ranked fails only its own line.
        """
        batch = validate(
            schemas.BatchRequest, await read_json(request, schemas.MAX_BATCH_BODY_BYTES)
        )
        stream = rank_all(service, batch, request.state.request_id, request.state.key)
        return StreamingResponse(stream, media_type="application/x-ndjson")

    @router.get(routes.JUDGES, response_model_exclude_unset=True)
    async def list_judges() -> schemas.JudgeList:
        """Return the configured judges without secrets, and whether each one answers now."""
        described = await service.ranker.judges.describe()
        return schemas.JudgeList.model_validate({"judges": described})

    return router


async def _handle_podium_error(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.PodiumError)
    # The details of other errors are not logged, because they may quote a request or a judge.
    detail = error.detail if isinstance(error, errors.StoreUnavailable) else None
    log.info("problem", code=error.code, detail=detail)
    return _respond(site, error, request)


async def _handle_http_error(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.url.path[:128], request.method[:16]
    kind = errors.MethodNotAllowed if error.status_code == 405 else errors.NotFound
    response = _respond(site, kind(f"{method} {path}: see /openapi.json"), request)
    response.headers.update(error.headers or {})
    return response


def _respond(site: Site, error: errors.PodiumError, request: Request) -> Response:
    """Return an error as a page to who looks at pages, and as a problem to programs."""
    respond = site.problem if routes.is_page(request.scope["path"]) else middleware.problem_response
    return respond(error, request.scope)


async def _handle_disconnect(_request: Request, _error: Exception) -> Response:
    """Return a response that nobody receives; its status is for the log."""
    return Response(status_code=middleware.CLIENT_CLOSED_REQUEST)
