"""Turn a step into a row of what it took: seconds, tokens per second, the judge's usage.

docs/metrics.md is made from the `Attributes` of `Timings`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from podium.answers import GroupReward, Usage
from podium_trainer.evaluation.evaluator import HeldOut
from podium_trainer.records.metrics import Row
from podium_trainer.records.rows.gathered import Gathered


@dataclass(frozen=True)
class Timings:
    """The time that a step took; seconds of a phase that did not run are null.

    Attributes:
        waited_s: seconds that the update waited for the groups of the step. It is less than
            rollout_s and rank_s together, because a group is ranked while others are sampled, and
            less than each of them if the step was gathered ahead.
        rollout_s: seconds in which attempts of the step were sampled, tools and the task's own
            reward included.
        rank_s: seconds in which at least one group of the step was with the service.
        update_s: seconds of the update.
        sync_s: seconds until the sampler had the new weights.
        held_out_s: seconds of the evaluation, the ranking of the win rate included.
        rollout_idle: share of the time since the step before in which no attempt was sampled for
            training. The part that is least idle bounds the speed of the run.
        rank_idle: the same for the ranking: the share in which no group was with the service.
        update_idle: the same for the update and the sync of the weights.
        tokens_per_s: sampled tokens per second of the rollout.
        judge_calls: number of calls to the judge for the rewards; an answer from the service's
            store costs none.
        judge_tokens: tokens of these calls, of prompts and of replies.
        judge_cost_usd: their cost in US dollars; 0 if the judge has no price.
        eval_judge_calls, eval_judge_tokens, eval_judge_cost_usd: the same for the win rate.
    """

    waited_s: float | None = None
    rollout_s: float | None = None
    rank_s: float | None = None
    update_s: float | None = None
    sync_s: float | None = None
    held_out_s: float | None = None
    rollout_idle: float | None = None
    rank_idle: float | None = None
    update_idle: float | None = None
    tokens_per_s: float | None = None
    judge_calls: int = 0
    judge_tokens: int = 0
    judge_cost_usd: float = 0.0
    eval_judge_calls: int = 0
    eval_judge_tokens: int = 0
    eval_judge_cost_usd: float = 0.0


def timings_row(
    gathered: Gathered,
    held_out: HeldOut | None,
    seconds: Mapping[str, float],
    idle: Mapping[str, float],
) -> Row:
    """Return the seconds of a step, its tokens per second and the judge's usage.

    Args:
        gathered: the groups of the step, with the seconds of its rollout and ranking.
        held_out: the evaluation after the step; None without one.
        seconds: of the other phases, by name.
        idle: for each part, the share of the time since the step before in which it was idle.
    """
    tokens = sum(a.num_tokens for group in gathered.seen for a in group.attempts)
    by_phase = {**gathered.clock.seconds, **seconds}
    rollout_s = by_phase.get("rollout", 0.0)
    spent = {f"{phase}_s": round(each, 4) for phase, each in by_phase.items()}
    shares = {f"{part}_idle": round(share, 4) for part, share in idle.items()}
    rewards = usage_of([group.answer for group in gathered.seen])
    compared = usage_of([g.outcome for g in held_out.groups if g.outcome] if held_out else [])
    timings = Timings(
        tokens_per_s=round(tokens / rollout_s, 1) if rollout_s else None,
        judge_calls=rewards.calls,
        judge_tokens=rewards.prompt_tokens + rewards.completion_tokens,
        judge_cost_usd=rewards.cost_usd or 0.0,
        eval_judge_calls=compared.calls,
        eval_judge_tokens=compared.prompt_tokens + compared.completion_tokens,
        eval_judge_cost_usd=compared.cost_usd or 0.0,
    )
    return asdict(timings) | spent | shares


def usage_of(outcomes: Sequence[GroupReward]) -> Usage:
    """Sum the judge's usage over groups; those that failed report none."""
    usages = [outcome.ranking.usage for outcome in outcomes if outcome.ranking]
    known = [usage for usage in usages if usage is not None]
    return Usage(
        calls=sum(usage.calls for usage in known),
        prompt_tokens=sum(usage.prompt_tokens for usage in known),
        completion_tokens=sum(usage.completion_tokens for usage in known),
        cost_usd=math.fsum(usage.cost_usd or 0.0 for usage in known),
    )
