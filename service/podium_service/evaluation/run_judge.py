"""Have one judge rank many groups in this process, and get its rankings, verdicts and calls.

The groups go through the service's own pipeline and store, so verdicts that were paid earlier are
not paid again.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, cast

from podium_service.errors import PodiumError
from podium_service.http.service import Service
from podium_service.judges.registry import JudgeRegistry
from podium_service.prompts.call import Call
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest, Usage
from podium_service.store.protocol import Store, StoredVerdicts
from podium_service.store.store import SQLStore


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One judge call that got a reply; `is_malformed` if the reply was no verdict."""

    latency_s: float
    is_malformed: bool
    usage: Usage


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """The ranking of one group, or the error instead of it, and what they rest on.

    Attributes:
        ranking: the ranking; None if the group failed.
        failure: the error; None if the group was ranked.
        verdicts: by content key, in the order of passes; a jury has several keys. Empty if the
            group failed.
        calls: all calls behind the ranking, whenever they were paid; of a failed group, the calls
            made now.
    """

    ranking: Ranking | None
    failure: PodiumError | None
    verdicts: dict[str, list[Verdict]]
    calls: list[CallSummary]


@dataclass(slots=True)
class _GroupTrace:
    """The content keys and the calls that the pipeline passed to the store for one group."""

    keys: dict[str, None] = field(default_factory=dict)
    calls: list[CallSummary] = field(default_factory=list)


_group_trace: ContextVar[_GroupTrace] = ContextVar("group_trace")


class RecordingStore:
    """A store that also records the keys and calls of each group.

    A group that fails has no ranking that would name them. Every other attribute is the store's.
    """

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    def claim(self, key: str) -> AbstractAsyncContextManager[StoredVerdicts]:
        _group_trace.get().keys[key] = None
        return self._store.claim(key)

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None:
        _group_trace.get().calls.append(CallSummary(call.latency_s, call.verdict is None, usage))
        self._store.add_call(key, pass_index, judge, call, usage)

    async def add_ranking(
        self, key: str, ranking: Ranking, request: dict[str, Any], rests_on: Sequence[str] = ()
    ) -> None:
        _group_trace.get().keys |= dict.fromkeys(rests_on or [key])
        await self._store.add_ranking(key, ranking, request, rests_on)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def rank_all(
    service: Service,
    judge: str,
    requests: Sequence[RankRequest],
    *,
    concurrency: int,
    deadline_s: float,
    advance: Callable[[], None],
) -> list[GroupOutcome]:
    """Rank every group with `judge`, and with no fallback of it; a group fails on its own.

    Args:
        service: the open service; its judges lose their fallbacks.
        judge: a name in the judges file.
        requests: the groups.
        concurrency: groups ranked at the same time.
        deadline_s: seconds for each group that names no deadline.
        advance: called after each group.

    Raises:
        UnknownJudge: If there is no such judge.
    """
    drop_fallbacks(service.ranker.judges)
    service.ranker.judges.roster.chain(judge)
    store = cast(Store, RecordingStore(service.store))
    ranker = Ranker(service.ranker.judges, store, service.metrics)
    slots = asyncio.Semaphore(concurrency)

    async def rank_one(request: RankRequest) -> GroupOutcome:
        has_deadline = "deadline_s" in request.model_fields_set
        async with slots:
            outcome = await _rank_one(
                ranker,
                service.store,
                judge,
                request,
                request.deadline_s if has_deadline else deadline_s,
            )
        advance()
        return outcome

    return list(await asyncio.gather(*(rank_one(request) for request in requests)))


def drop_fallbacks(judges: JudgeRegistry) -> None:
    """Remove all fallbacks, because a judge's card must not show another judge's work."""
    config = judges.roster.config
    alone = {
        name: judge.model_copy(update={"fallback": []}) for name, judge in config.judges.items()
    }
    judges.roster = replace(judges.roster, config=config.model_copy(update={"judges": alone}))


async def _rank_one(
    ranker: Ranker, store: SQLStore, judge: str, request: RankRequest, deadline_s: float
) -> GroupOutcome:
    trace = _GroupTrace()
    _group_trace.set(trace)  # for this group's task and for the tasks that it starts
    request = request.model_copy(update={"judge": judge, "deadline_s": deadline_s})
    try:
        ranking = await ranker.rank(request, Deadline.after(deadline_s))
    except PodiumError as error:
        return GroupOutcome(None, error, {}, trace.calls)
    verdicts: dict[str, list[Verdict]] = {}
    calls: list[CallSummary] = []
    for key in trace.keys:
        records = await store.read_calls(key)
        calls += [_summarise_call(record) for record in records]
        verdicts_of_key = _list_verdicts(records)
        if verdicts_of_key:
            verdicts[key] = verdicts_of_key
    return GroupOutcome(ranking, None, verdicts, calls)


def _list_verdicts(records: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Return one verdict per pass; the first of a repeated pass counts, as it does in the store."""
    by_pass: dict[int, Verdict] = {}
    for record in records:
        if record["verdict"]:
            by_pass.setdefault(record["pass_index"], Verdict(**record["verdict"]))
    return [by_pass[index] for index in sorted(by_pass)]


def _summarise_call(record: dict[str, Any]) -> CallSummary:
    usage = Usage.model_validate(record["usage"])
    return CallSummary(record["latency_s"], record["verdict"] is None, usage)
