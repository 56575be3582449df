"""Make the calls of a round at once; after one has failed, give those at the judge a grace.

    all end well ──► their results
    one fails ──► cancel those that wait ──► wait a while for those at the judge ──► raise

A call that is at the judge may have been paid, and its answer is stored as soon as it arrives, so
that a retry of the group finds it. It gets twice the time since the round started, because a judge
that works on one call at a time may just have begun with it. A judge that refuses calls does so at
once, so a group that is refused still fails fast.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.telemetry.tracebacks import drop_locals_on_error

# At least so many seconds, and at most this share of the time left, so that the failure is told
# before the deadline.
_LEAST_S, _SHARE = 5.0, 0.75

T = TypeVar("T")


@drop_locals_on_error
async def run_at_once(
    calls: Sequence[tuple[RequestContext, Coroutine[Any, Any, T]]],
) -> list[T]:
    """Run all calls at once, and return their results.

    Args:
        calls: each with a context of its own, which tells whether it is at the judge.

    Raises:
        Exception: What a call raises first, as it is. No call runs any more then.
    """
    if len(calls) == 1:  # the most common case, which needs no task of its own
        return [await calls[0][1]]
    contexts = {asyncio.ensure_future(call): context for context, call in calls}
    started_at = asyncio.get_running_loop().time()
    try:
        done, pending = await asyncio.wait(contexts, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if task.exception():
                await _await_answers({each: contexts[each] for each in pending}, started_at)
                task.result()
        return [task.result() for task in contexts]
    finally:
        for task in contexts:
            task.cancel()
        await asyncio.gather(*contexts, return_exceptions=True)


async def _await_answers(
    pending: Mapping[asyncio.Task[T], RequestContext], started_at: float
) -> None:
    for task, request_context in pending.items():
        request_context.is_ending = True
        if not request_context.is_at_judge:
            task.cancel()
    now = asyncio.get_running_loop().time()
    left_s = min((each.ends_at - now for each in pending.values()), default=0.0)
    grace_s = min(max(_LEAST_S, 2 * (now - started_at)), _SHARE * left_s)
    if pending and grace_s > 0:
        await asyncio.wait(pending, timeout=grace_s)
