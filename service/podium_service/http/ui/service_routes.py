"""The pages on the service itself: its API, its judges file, and who may use it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.http.access.api_key import is_open, required_scope
from podium_service.http.service import Service
from podium_service.http.ui.site import Site
from podium_service.pages.operation.api_reference import render_reference
from podium_service.pages.operation.config import render_config
from podium_service.telemetry.routes import DOCS, UI


def service_routes(
    site: Site, service: Service, read_document: Callable[[], dict[str, Any]]
) -> APIRouter:
    """Return the routes of the pages that need a service.

    Args:
        read_document: returns the OpenAPI document.
    """
    router = APIRouter(include_in_schema=False)

    @router.get(DOCS, name="docs_page")
    @router.get(f"{UI}/api", name="api_page")
    async def api_page(request: Request) -> Response:
        document = read_document()
        scopes = {
            (path, method): required_scope(path, method.upper())
            for path, operations in document["paths"].items()
            for method in operations
            if not is_open(path)
        }
        return site.page(request, render_reference(site.frame(request, "API"), document, scopes))

    @router.get(f"{UI}/config", name="config_page")
    async def config_page(request: Request) -> Response:
        judges = service.ranker.judges
        html = render_config(
            site.frame(request, "Config"),
            judges.roster.config,
            path=judges.path,
            loaded_at=judges.loaded_at,
            refusal=judges.refusal,
        )
        return site.page(request, html)

    return router
