"""Rank the groups of a batch and yield one line per group; a bad group fails only its own line."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from podium_service.errors import PodiumError
from podium_service.http.access.api_key import UNRESTRICTED, APIKey, count_request
from podium_service.http.requests.body import validate
from podium_service.http.service import Service
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.ranking.deadline import Deadline
from podium_service.schemas import MAX_ID_CHARS, BatchLine, BatchRequest, Problem, RankRequest
from podium_service.telemetry.logs import report_bug


async def rank_all(
    service: Service, batch: BatchRequest, request_id: str, key: APIKey
) -> AsyncIterator[bytes]:
    """Yield NDJSON lines in the order in which the groups finish.

    Closing the iterator cancels the groups that have not finished.
    """
    arrived = asyncio.get_running_loop().time()
    one_at_a_time = asyncio.Lock()

    async def rank(index: int, group: Any) -> BatchLine:
        # Validating a group takes long, so the event loop serves others between two groups.
        async with one_at_a_time:
            await asyncio.sleep(0)
        return await rank_line(
            service, index, group, batch.deadline_s, request_id, arrived=arrived, key=key
        )

    tasks = [asyncio.create_task(rank(*each)) for each in enumerate(batch.groups)]
    try:
        for finished in asyncio.as_completed(tasks):
            line = await finished
            if line.problem:
                service.metrics.count_problem(line.problem.code)
            yield line.to_json().encode() + b"\n"
    finally:
        for task in tasks:
            task.cancel()


async def rank_line(
    service: Service,
    index: int,
    group: Any,
    deadline_s: float | None = None,
    request_id: str | None = None,
    *,
    arrived: float | None = None,
    key: APIKey = UNRESTRICTED,
) -> BatchLine:
    """Rank one group and return its line, which holds the ranking or the problem.

    Args:
        group: JSON value, not validated yet.
        deadline_s: seconds for a group that has no deadline of its own.
        arrived: when the deadline began, on the event loop's clock; None: now.
    """
    try:
        request = validate(RankRequest, group)
        if deadline_s is not None and "deadline_s" not in request.model_fields_set:
            request.deadline_s = deadline_s
        start = asyncio.get_running_loop().time() if arrived is None else arrived
        deadline = Deadline(start + request.deadline_s, request.deadline_s)
        await count_request(key, service.store.quotas, service.metrics, deadline)
        request_context = RequestContext(
            api_key_id=key.id,
            api_key_name=key.name,
            spend_limit=key.spend_limit,
            patient=True,
        )
        ranking = await service.ranker.rank(request, deadline, request_context)
    except PodiumError as error:
        return make_failed_line(index, group, error, request_id)
    except Exception as error:  # noqa: BLE001 - a bug, too, fails only its own line
        return make_failed_line(index, group, report_bug(error), request_id)
    return BatchLine(index=index, group_id=request.group_id, status="ranked", ranking=ranking)


def make_failed_line(
    index: int, group: Any, error: PodiumError, request_id: str | None = None
) -> BatchLine:
    """Return the line of a group that was not ranked; `group` may be any JSON value."""
    group_id = group.get("group_id") if isinstance(group, dict) else None
    if isinstance(group_id, int | float) and not isinstance(group_id, bool):
        group_id = str(group_id)
    usable = isinstance(group_id, str) and len(group_id) <= MAX_ID_CHARS
    return BatchLine(
        index=index,
        group_id=group_id if usable else None,
        status="failed",
        problem=Problem.model_validate(error.problem(request_id)),
    )
