"""Groups and arms -> the rewards that the service returns, and what the judge was paid for them.

Through the service's own pipeline, one store for each arm, so that what it learns of a judge comes
from this arm alone. Where the folder of a store is kept, calls that were paid are not made again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.content import Labelled
from podium_service.errors import VerdictInvalid, VerdictTruncated
from podium_service.evaluation.run_judge import GroupOutcome, JudgeRunner
from podium_service.http.service import open_service
from podium_service.schemas import RankRequest

IN_FLIGHT = 8  # the groups of a step
DEADLINE_S = 3600.0
_NO_VERDICT = (VerdictInvalid, VerdictTruncated)


@dataclass(frozen=True)
class Answered:
    """One group as an arm answered it.

    Attributes:
        rewards: in the group's order; empty if it was not ranked.
        tokens, calls: whenever they were paid.
    """

    rewards: list[float]
    tokens: int
    calls: int


async def ask_arm(
    judge: Mapping[str, Any], parts: Sequence[Sequence[Labelled]], folder: Path
) -> list[list[Answered]]:
    """Rank the parts one after the other, eight groups at a time.

    Args:
        judge: a judge as a judges file has it.
        folder: for the store.

    Raises:
        PodiumError: If a group fails for another reason than the judge's words.
    """
    config = _judges_file(judge, folder)
    async with open_service(config, f"{folder}/podium.db") as service:
        runner = JudgeRunner(service, IN_FLIGHT, DEADLINE_S, advance=lambda: None)
        return [
            [
                _answered(outcome, group)
                for outcome, group in zip(
                    await runner.rank_all("arm", [_request(group) for group in part]),
                    part,
                    strict=True,
                )
            ]
            for part in parts
        ]


def _judges_file(judge: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "judges.yaml"
    file.write_text(json.dumps({"default_judge": "arm", "judges": {"arm": dict(judge)}}))
    return file


def _request(group: Labelled) -> RankRequest:
    return RankRequest.model_validate(group.group)


def _answered(outcome: GroupOutcome, group: Labelled) -> Answered:
    usage = [call.usage for call in outcome.calls]
    rewards: list[float] = []
    if outcome.failure and not isinstance(outcome.failure, _NO_VERDICT):
        raise outcome.failure
    if outcome.ranking:
        by_id = {result.id: result.reward for result in outcome.ranking.results}
        rewards = [by_id[trajectory["id"]] for trajectory in group.group["trajectories"]]
    tokens = sum(each.prompt_tokens + each.completion_tokens for each in usage)
    return Answered(rewards, tokens, sum(each.calls for each in usage))
