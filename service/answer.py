"""An outcome -> one result per trajectory of the request, in its order and under its ids."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.aggregate import Estimate
from service.checks import Check
from service.prompts import SHOWN_ID
from service.rewards import mean_ranks, rewards
from service.schemas import RankRequest, TrajectoryResult
from service.transcript import Transcript
from service.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What judging gave, over the distinct trajectories shown.

    Attributes:
        transcript: what was shown, and whom each body stands for.
        estimate: the scores.
        verdicts: the passes behind it; empty where no LLM was asked.
        passes: how many there were.
        words: an explanation per body, where no verdict has one.
    """

    transcript: Transcript
    estimate: Estimate
    verdicts: list[Verdict]
    passes: int
    words: list[str] = field(default_factory=list)


def results(
    request: RankRequest, outcome: Outcome, gated: dict[int, list[Check]], reward: str
) -> list[TrajectoryResult]:
    """Spread the outcome over the request's trajectories.

    Those that failed a gate, `gated`, get reward 0 and share the last rank. The others are ranked
    and rewarded among themselves; equal ones share everything.
    """
    members = outcome.transcript.members
    estimate = outcome.estimate
    ranks = mean_ranks(estimate.scores, [len(indices) for indices in members])
    earned = rewards(estimate, reward)
    words = _explanations(request, outcome)
    found: dict[int, TrajectoryResult] = {}
    for body, indices in enumerate(members):
        for index in indices:
            found[index] = TrajectoryResult(
                id=request.trajectories[index].id,
                rank=ranks[body],
                reward=earned[body],
                score=estimate.scores[body] if estimate.scored else None,
                stderr=estimate.stderr,
                explanation=words[body],
            )
    num_shown = sum(map(len, members))
    last = num_shown + (len(gated) + 1) / 2
    for index, failed in gated.items():
        found[index] = TrajectoryResult(
            id=request.trajectories[index].id,
            rank=last,
            reward=0.0,
            score=None,
            stderr=None,
            explanation=failing(failed),
            flags=[f"gate:{check.check}" for check in failed],
        )
    return [found[index] for index in range(len(request.trajectories))]


def failing(failed: Sequence[Check]) -> str:
    """The explanation of a trajectory that does not meet some criteria."""
    return f"fails {', '.join(check.label for check in failed)}"


def _explanations(request: RankRequest, outcome: Outcome) -> list[str]:
    """Per body, the words of the pass whose score is nearest to the mean, in the caller's ids."""
    if not outcome.verdicts:
        same = ["identical: no judge was asked"] * len(outcome.transcript.bodies)
        return outcome.words or same
    ids = [request.trajectories[indices[0]].id for indices in outcome.transcript.members]
    by_pass = [_by_body(verdict, ids) for verdict in outcome.verdicts]
    return [
        min(column, key=lambda pair: abs(pair[0] - mean))[1]
        for column, mean in zip(zip(*by_pass, strict=True), outcome.estimate.means, strict=True)
    ]


def _by_body(verdict: Verdict, ids: Sequence[str]) -> list[tuple[float, str]]:
    """(score, explanation) per body; ids of that one call give way to the caller's."""
    names = {shown: ids[body] for shown, body in zip(verdict.ids, verdict.order, strict=True)}
    entries = {
        body: (score, SHOWN_ID.sub(lambda match: names.get(match[0], match[0]), text))
        for body, score, text in zip(
            verdict.order, verdict.scores, verdict.explanations, strict=True
        )
    }
    return [entries[body] for body in range(len(entries))]
