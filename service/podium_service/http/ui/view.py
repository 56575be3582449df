"""An app that shows a store without a service: its pages, and nothing that acts."""

from secrets import token_hex

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from podium_service.errors import NotFound, PodiumError
from podium_service.http.access.api_key import UNRESTRICTED
from podium_service.http.access.hosts import is_known_host, unknown_host
from podium_service.http.ui.routes import page_routes
from podium_service.http.ui.sign_in import sign_in_routes
from podium_service.http.ui.site import Site
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import SQLStore


def create_view_app(store: SQLStore) -> FastAPI:
    """Build the app; it answers to names of this machine only."""
    site = Site(HistoryReader(store), store)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(sign_in_routes(site, None))
    app.include_router(page_routes(site))

    async def show_problem(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, PodiumError) else NotFound("there is no such page")
        return site.problem(known, request.scope)

    app.add_exception_handler(PodiumError, show_problem)
    app.add_exception_handler(HTTPException, show_problem)
    app.add_middleware(_LocalState, site=site)
    return app


class _LocalState:
    """Gives each request what the service's middleware gives it, and checks its host name."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {}).update(request_id=token_hex(8), key=UNRESTRICTED)
            host = Request(scope).headers.get("host", "")
            if not is_known_host(host, ()):
                response = self._site.problem(unknown_host(host), scope)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
