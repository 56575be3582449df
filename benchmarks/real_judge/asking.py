"""Ways and groups -> what the service's own pipeline makes of a judge's replies.

Calls are kept in a store: those that were paid are not made again, and a run that was cut off goes
on where it stopped.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.content import Labelled
from benchmarks.real_judge.ways import BY_PASSES, Way
from podium_service.errors import VerdictInvalid, VerdictTruncated
from podium_service.evaluation.run_judge import GroupOutcome, JudgeRunner
from podium_service.http.service import Service, open_service
from podium_service.judges.limits import Passes
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.methods import METHODS, Situation
from podium_service.schemas import RankRequest

IN_FLIGHT = 8
DEADLINE_S = 36_000.0
_NO_VERDICT = (VerdictInvalid, VerdictTruncated)


@dataclass(frozen=True)
class Answered:
    """One group as one way answered it.

    Attributes:
        values: of each attempt, higher is better, in the group's order; empty without a verdict.
        prompt_tokens, completion_tokens: of all calls.
        replies, useless: how many there were, and how many were no verdict.
    """

    values: list[float]
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    replies: int = 0
    useless: int = 0


Readings = dict[int, list[Answered]]  # by the number of passes read, an answer for each group


@dataclass
class Clock:
    """Seconds that answers took, kept in a file over interrupted runs."""

    file: Path
    seconds: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = json.loads(self.file.read_text()) if self.file.exists() else {}

    def add(self, name: str, started: float) -> None:
        """Count the time since `time.perf_counter()` was `started`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.file.write_text(json.dumps(self.seconds, indent=1))


async def ask_ways(
    ways: Mapping[str, Way],
    endpoint: Mapping[str, Any],
    groups: Sequence[Labelled],
    folder: Path,
    clock: Clock,
) -> dict[str, Readings]:
    """Ask about all groups in each way.

    Args:
        endpoint: what the judges file says of the model, whatever the way.
        folder: for the store; it exists.

    Raises:
        PodiumError: If a group fails for another reason than the judge's words.
    """
    file = _judges_file(ways, endpoint, len(groups[0].truth), folder)
    found: dict[str, Readings] = {}
    async with open_service(file, f"{folder}/podium.db") as service:
        for way, each in ways.items():
            found |= await _ask(service, way, each, groups, clock)
    return found


def _judges_file(
    ways: Mapping[str, Way], endpoint: Mapping[str, Any], num_attempts: int, folder: Path
) -> Path:
    judges = {
        _judge_name(way): {**endpoint, **each.judge(num_attempts)} for way, each in ways.items()
    }
    file = folder / "judges.yaml"
    file.write_text(json.dumps({"default_judge": next(iter(judges)), "judges": judges}))
    return file


def _judge_name(way: str) -> str:
    return way.replace(" ", "-")


async def _ask(
    service: Service, name: str, way: Way, groups: Sequence[Labelled], clock: Clock
) -> dict[str, Readings]:
    requests = [RankRequest.model_validate(group.group) for group in groups]
    runner = JudgeRunner(service, IN_FLIGHT, DEADLINE_S, advance=lambda: None)
    started = time.perf_counter()
    outcomes = await runner.rank_all(_judge_name(name), requests)
    if any(each.ranking is None or each.ranking.usage.calls for each in outcomes):
        clock.add(name, started)
    raise_unless_judged(outcomes)

    def read(*passes: int) -> list[Answered]:
        pairs = zip(outcomes, requests, strict=True)
        return [_some(passes, way.method, *pair) for pair in pairs]

    most = way.passes_of(len(groups[0].truth))
    readings = {most: list(map(_returned, outcomes, requests))}
    if way.method not in BY_PASSES:
        return {name: readings}
    readings |= {num: read(*range(num)) for num in (1, 2) if num < most}
    unlike = {unlike_orders(name): {2: read(0, 2)}} if most > 2 else {}
    return {name: readings, **unlike}


def unlike_orders(way: str) -> str:
    """Return the name of the reading of two passes whose orders are no reverses of each other."""
    return f"{way}, orders 1 and 3"


def raise_unless_judged(outcomes: Sequence[GroupOutcome]) -> None:
    """Raise what is no fault of the judge's replies: without an endpoint or a store there is
    nothing to measure, and a table of groups "without signal" would hide it."""
    for each in outcomes:
        if each.failure and not isinstance(each.failure, _NO_VERDICT):
            raise each.failure


def _returned(outcome: GroupOutcome, request: RankRequest) -> Answered:
    """Return the rewards of all passes, as the service returned them."""
    values: list[float] = []
    if outcome.ranking:
        by_id = {result.id: result.reward for result in outcome.ranking.results}
        values = [by_id[each.id] for each in request.trajectories]
    calls = outcome.calls
    return Answered(
        values,
        sum(call.usage.prompt_tokens for call in calls),
        sum(call.usage.completion_tokens for call in calls),
        len(calls),
        sum(call.is_malformed for call in calls),
    )


def _some(
    passes: Sequence[int], method: str, outcome: GroupOutcome, request: RankRequest
) -> Answered:
    """Return what some of the passes would have said by themselves, for their share of tokens."""
    (verdicts,) = outcome.verdicts.values() if outcome.verdicts else ([],)
    every = _returned(outcome, request)
    if len(verdicts) <= max(passes):
        return every
    share = len(passes) / len(verdicts)
    return Answered(
        scores_of([verdicts[each] for each in passes], method, request),
        every.prompt_tokens * share,
        every.completion_tokens * share,
        every.replies,
        every.useless,
    )


def scores_of(verdicts: Sequence[Verdict], method: str, request: RankRequest) -> list[float]:
    """Return the scores of a group's attempts by some verdicts about it, in its order."""
    members = transcribe(request, range(len(request.trajectories))).members
    num = len(verdicts)
    situation = Situation(
        len(members), 0, Passes(min=num, max=num), verdicts=dict(enumerate(verdicts))
    )
    means = METHODS[method].estimate(situation).means
    by_index = {index: means[body] for body, own in enumerate(members) for index in own}
    return [by_index[index] for index in range(len(request.trajectories))]
