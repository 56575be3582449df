"""Many groups -> one line each, as it finishes. What befalls a group fails its own line only."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from podium_service.errors import PodiumError
from podium_service.http import middleware
from podium_service.http.api_key import UNRESTRICTED, APIKey, count_request
from podium_service.http.body import validated
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import MAX_ID_CHARS, BatchLine, BatchRequest, Problem, RankRequest
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics


async def rank_all(
    ranker: Ranker,
    batch: BatchRequest,
    request_id: str,
    key: APIKey,
    quotas: QuotaService,
    metrics: Metrics,
) -> AsyncIterator[bytes]:
    """NDJSON lines, in the order of finishing; what is left is cancelled with the caller."""
    arrived = asyncio.get_running_loop().time()
    turn = asyncio.Lock()

    async def line(index: int, group: Any) -> BatchLine:
        async with turn:  # reading a group takes a while: between two, others are served
            await asyncio.sleep(0)
        return await rank_line(
            ranker,
            index,
            group,
            batch.deadline_s,
            request_id,
            arrived=arrived,
            key=key,
            quotas=quotas,
        )

    tasks = [asyncio.create_task(line(*each)) for each in enumerate(batch.groups)]
    try:
        for finished in asyncio.as_completed(tasks):
            answer = await finished
            if answer.problem:
                metrics.count_problem(answer.problem.code)
            yield answer.to_json().encode() + b"\n"
    finally:
        for task in tasks:
            task.cancel()


async def rank_line(
    ranker: Ranker,
    index: int,
    group: Any,
    deadline_s: float | None = None,
    request_id: str | None = None,
    *,
    arrived: float | None = None,
    key: APIKey = UNRESTRICTED,
    quotas: QuotaService | None = None,
) -> BatchLine:
    """Rank the group with this index.

    Args:
        deadline_s: holds if the group has none of its own.
        arrived: when the deadline began, on the event loop's clock; now by default.
        key, quotas: whose group it is, and where it is counted; nobody's by default.
    """
    try:
        request = validated(RankRequest, group)
        if deadline_s is not None and "deadline_s" not in request.model_fields_set:
            request.deadline_s = deadline_s
        start = asyncio.get_running_loop().time() if arrived is None else arrived
        deadline = Deadline(start + request.deadline_s, request.deadline_s)
        if quotas is not None:
            await count_request(key, quotas, deadline)
        request_context = RequestContext(key=key.id, spend_limit=key.spend_limit, patient=True)
        ranking = await ranker.rank(request, deadline, request_context)
    except PodiumError as error:
        return failed_line(index, group, error, request_id)
    except Exception as error:  # noqa: BLE001 - a bug, too, fails its own line only
        return failed_line(index, group, middleware.bug(error), request_id)
    return BatchLine(index=index, group_id=request.group_id, status="ranked", ranking=ranking)


def failed_line(
    index: int, group: Any, error: PodiumError, request_id: str | None = None
) -> BatchLine:
    """The line of a group that could not be ranked; `group` is as it came, valid or not."""
    group_id = group.get("group_id") if isinstance(group, dict) else None
    usable = isinstance(group_id, str) and len(group_id) <= MAX_ID_CHARS
    return BatchLine(
        index=index,
        group_id=group_id if usable else None,
        status="failed",
        problem=Problem.model_validate(error.problem(request_id)),
    )
