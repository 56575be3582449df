"""Groups -> what one judge made of each, through the service's own pipeline, in process."""

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
from podium_service.store.store import SQLStore, Store, StoredVerdicts


@dataclass(frozen=True, slots=True)
class Spent:
    """One answered judge call, whenever it was paid."""

    latency_s: float
    faulty: bool
    usage: Usage


@dataclass(frozen=True, slots=True)
class Asked:
    """One group: its ranking or why there is none, with the verdicts and calls behind it.

    `verdicts[key]` are those under one content key, in the order of passes; a jury has several.
    """

    ranking: Ranking | None
    failure: PodiumError | None
    verdicts: dict[str, list[Verdict]]
    calls: list[Spent]


@dataclass(slots=True)
class _Noted:
    """What the pipeline did in the store for one group."""

    keys: dict[str, None] = field(default_factory=dict)
    calls: list[Spent] = field(default_factory=list)


_noted: ContextVar[_Noted] = ContextVar("noted")


class WatchedStore:
    """A store that notes under which keys each group is judged: a group that fails has no ranking
    that would say so. Everything it does not name is the store's own."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    def claim(self, key: str) -> AbstractAsyncContextManager[StoredVerdicts]:
        _noted.get().keys[key] = None
        return self._store.claim(key)

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None:
        _noted.get().calls.append(Spent(call.latency_s, call.verdict is None, usage))
        self._store.add_call(key, pass_index, judge, call, usage)

    async def add_ranking(
        self, key: str, ranking: Ranking, request: dict[str, Any], rests_on: Sequence[str] = ()
    ) -> None:
        _noted.get().keys |= dict.fromkeys(rests_on or [key])
        await self._store.add_ranking(key, ranking, request, rests_on)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def ask_all(
    service: Service,
    judge: str,
    requests: Sequence[RankRequest],
    *,
    concurrency: int,
    deadline_s: float,
    advance: Callable[[], None],
) -> list[Asked]:
    """Have `judge`, and no fallback of it, rank every group; groups fail on their own.

    Args:
        concurrency: groups in flight.
        deadline_s: of each group that names none.
        advance: called after each group.

    Raises:
        UnknownJudge: If there is no such judge.
    """
    drop_fallbacks(service.ranker.judges)
    service.ranker.judges.roster.chain(judge)
    store = cast(Store, WatchedStore(service.store))
    ranker = Ranker(service.ranker.judges, store, service.metrics)
    places = asyncio.Semaphore(concurrency)

    async def ask(request: RankRequest) -> Asked:
        async with places:
            seconds = request.deadline_s if _names_deadline(request) else deadline_s
            asked = await _ask(ranker, service.store, judge, request, seconds)
        advance()
        return asked

    return list(await asyncio.gather(*(ask(request) for request in requests)))


def drop_fallbacks(judges: JudgeRegistry) -> None:
    """Let each judge stand for itself: a card of one must not show another's work."""
    config = judges.roster.config
    alone = {
        name: judge.model_copy(update={"fallback": []}) for name, judge in config.judges.items()
    }
    judges.roster = replace(judges.roster, config=config.model_copy(update={"judges": alone}))


async def _ask(
    ranker: Ranker, store: SQLStore, judge: str, request: RankRequest, deadline_s: float
) -> Asked:
    noted = _Noted()
    _noted.set(noted)  # of this group's task, and of the tasks it starts
    named = request.model_copy(update={"judge": judge, "deadline_s": deadline_s})
    try:
        ranking = await ranker.rank(named, Deadline.after(deadline_s))
    except PodiumError as error:
        return Asked(None, error, {}, noted.calls)
    verdicts: dict[str, list[Verdict]] = {}
    calls: list[Spent] = []
    for key in noted.keys:
        records = await store.read_calls(key)
        calls += [_spent(record) for record in records]
        found = _verdicts(records)
        if found:
            verdicts[key] = found
    return Asked(ranking, None, verdicts, calls)


def _names_deadline(request: RankRequest) -> bool:
    return "deadline_s" in request.model_fields_set


def _verdicts(records: Sequence[dict[str, Any]]) -> list[Verdict]:
    """By pass; of one asked twice the first counts, as it does in the store."""
    by_pass: dict[int, Verdict] = {}
    for record in records:
        if record["verdict"]:
            by_pass.setdefault(record["pass_index"], Verdict(**record["verdict"]))
    return [by_pass[index] for index in sorted(by_pass)]


def _spent(record: dict[str, Any]) -> Spent:
    usage = Usage.model_validate(record["usage"])
    return Spent(record["latency_s"], record["verdict"] is None, usage)
