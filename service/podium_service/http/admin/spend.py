"""The route that tells what judges cost; `podium spend` tells the same of a store."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service import schemas
from podium_service.http.openapi import examples
from podium_service.http.openapi.document import problem_responses, query_parameters
from podium_service.http.requests.body import validate
from podium_service.http.service import Service
from podium_service.store.history.spend import read_spend, to_csv
from podium_service.telemetry import routes

_ANSWER = {
    "application/json": {"example": examples.SPEND},
    "text/csv": {"example": examples.SPEND_CSV},
}


def spend_routes(service: Service) -> APIRouter:
    """Return the route `/spend`."""
    router = APIRouter(responses=problem_responses(401, 403, 422, 503))

    @router.get(
        routes.SPEND,
        response_model=schemas.SpendReport,
        openapi_extra=query_parameters(schemas.SpendQuery),
        responses={200: {"content": _ANSWER}},
    )
    async def get_spend(request: Request) -> Response:
        """Tell what judges cost by API key, judge, run or day, for keys without a limit, too."""
        sent = request.query_params
        fields = {name: sent[name] for name in sent}
        query = validate(schemas.SpendQuery, fields | {"by": sent.getlist("by") or ["key"]})
        report = await read_spend(service.store, query.by, query.since, query.until)
        if query.format == "csv":
            return Response(to_csv(report), media_type="text/csv")
        return Response(report.model_dump_json(exclude_unset=True), media_type="application/json")

    return router
