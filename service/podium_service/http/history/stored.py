"""The routes that tell what the store keeps: rankings, the calls behind them, and runs.

Every key with the scope `read` sees the groups of all keys, their texts included.
"""

from datetime import UTC

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from podium_service.errors import InvalidRequest, NotFound
from podium_service.http.openapi import history_examples as examples
from podium_service.http.openapi.document import (
    json_response,
    problem_responses,
    query_parameters,
)
from podium_service.http.requests.body import validate
from podium_service.http.service import Service
from podium_service.schemas import history
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.reader import HistoryReader
from podium_service.telemetry import routes

_MAX_ID_CHARS = 64
_OF_LIST = problem_responses(422)
_OF_ONE = problem_responses(404, 422)


def history_routes(service: Service) -> APIRouter:
    """Return the routes under `/rankings` and `/runs`."""
    router = APIRouter(responses=problem_responses(401, 403, 503))
    reader = HistoryReader(service.store)
    _add_ranking_routes(router, reader)
    _add_run_routes(router, reader)
    return router


def _add_ranking_routes(router: APIRouter, reader: HistoryReader) -> None:
    @router.get(
        routes.RANKINGS,
        response_model=history.RankingPage,
        openapi_extra=query_parameters(history.RankingQuery),
        responses=_OF_LIST | json_response(200, examples.RANKING_PAGE),
    )
    async def list_rankings(request: Request) -> Response:
        """Return the groups that were asked to be ranked, newest first, also those that failed."""
        query = validate(history.RankingQuery, dict(request.query_params))
        page = await reader.list_rankings(_filters(query), query.cursor, query.limit)
        return _json(page)

    @router.get(
        routes.RANKING,
        response_model=history.RankingDetail,
        responses=_OF_ONE | json_response(200, examples.RANKING_DETAIL),
    )
    async def get_ranking(ranking_id: str) -> Response:
        """Return a ranking or a group that failed, with the group as it was sent.

        The id of a ranking that was asked for several times stands for the first one.
        """
        return _json(await read_known(reader, ranking_id))

    @router.get(
        routes.RANKING_CALLS,
        response_model=history.CallList,
        responses=_OF_ONE | json_response(200, examples.CALL_LIST),
    )
    async def get_calls(ranking_id: str) -> Response:
        """Return the judge calls behind a ranking or a failure, with exact prompts and replies."""
        calls = await reader.read_calls(_checked(ranking_id))
        if calls is None:
            raise _unknown(ranking_id)
        return _json(history.CallList(calls=calls))


def _add_run_routes(router: APIRouter, reader: HistoryReader) -> None:
    @router.get(
        routes.RUNS,
        response_model=history.RunPage,
        openapi_extra=query_parameters(history.PageQuery),
        responses=_OF_LIST | json_response(200, examples.RUN_PAGE),
    )
    async def list_runs(request: Request) -> Response:
        """Return the runs that groups name in their metadata, the last active one first."""
        query = validate(history.PageQuery, dict(request.query_params))
        return _json(await reader.list_runs(query.cursor, query.limit))

    @router.get(
        routes.RUN.replace("{run}", "{run:path}"),  # a name may hold slashes
        response_model=history.RunDetail,
        responses=_OF_ONE | json_response(200, examples.RUN_DETAIL),
    )
    async def get_run(run: str) -> Response:
        """Return a run step by step: what failed, what was sure, what it cost."""
        if "\0" in run:
            raise InvalidRequest("run: must not hold a NUL")
        detail = await reader.read_run(run)
        if detail is None:
            raise NotFound(f"no run {run[:_MAX_ID_CHARS]!r}: no group's metadata name it")
        return _json(detail)


async def read_known(reader: HistoryReader, ranking_id: str) -> history.RankingDetail:
    """Return a ranking.

    Raises:
        InvalidRequest: If the id can be none.
        NotFound: If there is no such ranking.
    """
    detail = await reader.read_ranking(_checked(ranking_id))
    if detail is None:
        raise _unknown(ranking_id)
    return detail


def _filters(query: history.RankingQuery) -> RankingFilters:
    fields = query.model_dump(exclude={"cursor", "limit", "since"})
    since = query.since
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return RankingFilters(**fields, since=since.timestamp() if since else None)


def _checked(ranking_id: str) -> str:
    if len(ranking_id) > _MAX_ID_CHARS or "\0" in ranking_id:
        raise InvalidRequest(f"ranking_id: at most {_MAX_ID_CHARS} characters, no NUL")
    return ranking_id


def _unknown(ranking_id: str) -> NotFound:
    return NotFound(f"no ranking {ranking_id!r}: it was never made, or pruned")


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")
