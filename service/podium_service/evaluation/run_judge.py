"""Have one judge rank many groups in this process, and get its rankings, verdicts and calls.

The groups go through the service's own pipeline and store, so verdicts that were paid earlier are
not paid again.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

from podium_service.errors import PodiumError
from podium_service.http.service import Service
from podium_service.prompts.call import Call
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest, Usage
from podium_service.store.asks.records import Ask
from podium_service.store.protocol import Store, StoredVerdicts
from podium_service.store.quotas.payer import NOBODY, Payer
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
        ranking, failure: one of them is None.
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
    """A store that records the keys and calls of each group, also of one that fails.

    Every other attribute is the store's.
    """

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    def claim(self, key: str) -> AbstractAsyncContextManager[StoredVerdicts]:
        _group_trace.get().keys[key] = None
        return self._store.claim(key)

    def add_call(
        self,
        key: str,
        pass_index: int,
        judge: str,
        call: Call,
        usage: Usage,
        payer: Payer = NOBODY,
    ) -> None:
        _group_trace.get().calls.append(CallSummary(call.latency_s, call.verdict is None, usage))
        self._store.add_call(key, pass_index, judge, call, usage, payer)

    async def add_ranking(self, ask: Ask, rests_on: Sequence[str] = ()) -> None:
        _group_trace.get().keys |= dict.fromkeys(rests_on or ask.calls)
        await self._store.add_ranking(ask, rests_on)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class JudgeRunner:
    """Ranks groups by one judge at a time, with no fallback; a group fails on its own.

    Args:
        service: the open service. Its judges lose their fallbacks, because a judge's card must not
            show another judge's work.
        concurrency: groups ranked at the same time.
        deadline_s: seconds for each group that names no deadline.
        advance: called after each group.
    """

    def __init__(
        self, service: Service, concurrency: int, deadline_s: float, advance: Callable[[], None]
    ) -> None:
        self.judges = judges = service.ranker.judges
        config = judges.roster.config
        alone = {
            name: judge.model_copy(update={"fallback": []}) for name, judge in config.judges.items()
        }
        judges.use(config.model_copy(update={"judges": alone}))
        self._store = service.store
        # Its `__getattr__` passes on what it does not define, which mypy cannot see.
        recording_store = cast(Store, RecordingStore(service.store))
        self._ranker = Ranker(judges, recording_store, service.metrics)
        self._slots = asyncio.Semaphore(concurrency)
        self._deadline_s = deadline_s
        self._advance = advance

    def add_variant(self, judge: str, variant: str, settings: Mapping[str, Any]) -> None:
        """Add a judge called `variant`, which differs from `judge` in some settings alone."""
        config = self.judges.roster.config
        copy = config.judges[judge].model_copy(update=settings)
        judges = {**config.judges, variant: copy}
        self.judges.use(config.model_copy(update={"judges": judges}))

    async def rank_all(self, judge: str, requests: Sequence[RankRequest]) -> list[GroupOutcome]:
        """Rank every group by the judge of this name.

        Raises:
            UnknownJudge: If there is no such judge.
        """
        self.judges.roster.chain(judge)
        return list(await asyncio.gather(*(self._rank(judge, request) for request in requests)))

    async def _rank(self, judge: str, request: RankRequest) -> GroupOutcome:
        has_deadline = "deadline_s" in request.model_fields_set
        deadline_s = request.deadline_s if has_deadline else self._deadline_s
        request = request.model_copy(update={"judge": judge, "deadline_s": deadline_s})
        trace = _GroupTrace()
        _group_trace.set(trace)  # for this group's task and for the tasks that it starts
        async with self._slots:
            try:
                ranking = await self._ranker.rank(request)
            except PodiumError as error:
                outcome = GroupOutcome(None, error, {}, trace.calls)
            else:
                outcome = await self._read_outcome(ranking, trace.keys)
        self._advance()
        return outcome

    async def _read_outcome(self, ranking: Ranking, keys: Iterable[str]) -> GroupOutcome:
        verdicts: dict[str, list[Verdict]] = {}
        calls: list[CallSummary] = []
        for key in keys:
            by_pass: dict[int, Verdict] = {}
            for record in await self._store.read_calls(key):
                verdict, usage = record["verdict"], Usage.model_validate(record["usage"])
                calls.append(CallSummary(record["latency_s"], verdict is None, usage))
                if verdict:  # the first of a repeated pass counts, as it does in the store
                    by_pass.setdefault(record["pass_index"], Verdict(**verdict))
            if by_pass:
                verdicts[key] = [by_pass[index] for index in sorted(by_pass)]
        return GroupOutcome(ranking, None, verdicts, calls)
