"""Turn a step into a row of its numbers, which do not depend on the machine's speed.

A row is the fields of the dataclasses below, and of `UpdateStats`. docs/metrics.md is made from
the `Attributes` in their docstrings. To add a number: add a field with a line about it there, and
compute it in the function that makes the dataclass.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from podium_trainer.evaluation.evaluator import HeldOut
from podium_trainer.records.metrics import Row
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.records.rows.lost import LostMetrics, lost_metrics
from podium_trainer.update.groups import RankedGroup
from podium_trainer.update.update import UpdateStats


@dataclass(frozen=True)
class RolloutMetrics:
    """The attempts of a step and their rewards.

    Attributes:
        policy_version: version of the weights after the step.
        reward_mean: mean reward of all ranked attempts. Rewards are relative, so that it hovers
            about .5, and tells nothing about progress.
        verified_mean: mean verified reward of all attempts (`task.reward`), which is not relative;
            null if none is sent.
        reward_std: mean over groups of the rewards' standard deviation within the group.
        groups: number of groups that were rolled out, refills included.
        groups_failed: number of groups that the service could not rank, and that are left out.
        groups_tied: number of groups whose rewards are all equal, and that teach nothing.
        groups_trained: number of groups that were trained on.
        signal_share: groups_trained / groups. It falls as the judge ceases to tell the attempts
            apart, or as the policy always gives the same answer.
        reliability: mean over groups of the share of the differences between the judge's scores
            that is signal, as the service estimates it.
        tokens: number of tokens that were sampled.
        completion_tokens: mean number of sampled tokens of an attempt, over all its turns.
        completion_tokens_p95: the number that 95% of the attempts do not exceed.
        truncated_share: share of attempts whose last completion was cut off.
        turns: mean number of completions of an attempt.
        restarted_samples: number of times that the chat template rewrote earlier turns, so that an
            attempt goes on in a sample of its own.
        entropy: mean of minus the log-probability of a sampled token, in nats: an estimate of the
            entropy of the policy's next token, with its temperature. Near 0 all attempts are alike
            and nothing more can be learnt.
        prompts_too_long: number of the task's prompts that were left out, because they leave no
            room for a completion.
        skipped: 1 if the step's update failed, because a gradient was not finite or there was no
            memory left; else 0.
        servers_ready: number of vLLM servers that could be asked at the end of the step; the others
            were gone, or had no present weights yet. Null with the local sampler.
    """

    policy_version: int
    reward_mean: float | None
    verified_mean: float | None
    reward_std: float | None
    groups: int
    groups_failed: int
    groups_tied: int
    groups_trained: int
    signal_share: float | None
    reliability: float | None
    tokens: int
    completion_tokens: float | None
    completion_tokens_p95: float | None
    truncated_share: float | None
    turns: float | None
    restarted_samples: int
    entropy: float | None
    prompts_too_long: int
    skipped: int
    servers_ready: int | None


@dataclass(frozen=True)
class HeldOutMetrics:
    """An evaluation on held-out prompts; null in steps without one.

    Attributes:
        held_out: mean score of the attempts, as the task scores them; null if it has no score.
        held_out_lost: number of held-out prompts that the sampler failed at; they are left out.
        win_rate: mean over prompts of the share of pairs, one attempt of now and one of step 0, in
            which the judge ranks the attempt of now first; a tie counts half. Step 0 has .5.
        win_rate_stderr: standard error of the win rate. Prompts are the observations, because the
            pairs of one prompt depend on each other. The curve's band is the 95% interval by
            Student's t with win_rate_prompts - 1 degrees of freedom.
        win_rate_prompts: number of prompts that the win rate is a mean over.
        win_rate_failed: number of comparisons that could not be ranked; they are left out.
    """

    held_out: float | None = None
    held_out_lost: int | None = None
    win_rate: float | None = None
    win_rate_stderr: float | None = None
    win_rate_prompts: int | None = None
    win_rate_failed: int | None = None


@dataclass(frozen=True)
class TrainedMetrics:
    """The data of the update; null in steps without one.

    Attributes:
        lr: learning rate of the update.
        advantage_norm: root mean square of the advantages of the attempts in trained groups. It
            falls with the judge's reliability, because rewards shrink by it.
        staleness: mean over the sampled tokens of trained groups of the number of updates between
            the weights that drew the token and those that were updated.
        staleness_max: the largest such number.
    """

    lr: float | None = None
    advantage_norm: float | None = None
    staleness: float | None = None
    staleness_max: int | None = None


METRICS = (RolloutMetrics, LostMetrics, HeldOutMetrics, TrainedMetrics, UpdateStats)
UPDATE_FIELDS = [field.name for field in fields(UpdateStats)]


def metrics_row(
    gathered: Gathered,
    stats: UpdateStats | None,
    held_out: HeldOut | None,
    version: int,
    lr: float | None = None,
) -> Row:
    """Return the numbers of a step that do not depend on the machine's speed.

    Args:
        gathered: the groups of the step.
        stats: the update's numbers; None without an update.
        held_out: the evaluation after the step; None without one.
        version: the version of the weights after the step.
        lr: the learning rate of the update.
    """
    sizes = [len(group.attempts) for group in gathered.seen]
    trained = TrainedMetrics() if stats is None else trained_metrics(gathered, version - 1, lr)
    return {
        **asdict(rollout_metrics(gathered, version)),
        **asdict(lost_metrics(gathered.lost, sizes, gathered.group_size)),
        **asdict(held_out_metrics(held_out)),
        **asdict(trained),
        **(dict.fromkeys(UPDATE_FIELDS) if stats is None else asdict(stats)),
    }


def rollout_metrics(gathered: Gathered, version: int) -> RolloutMetrics:
    ranked = [group for group in gathered.seen if group.is_ranked]
    attempts = [attempt for group in gathered.seen for attempt in group.attempts]
    lengths = [attempt.num_tokens for attempt in attempts]
    known = [group.answer.ranking for group in ranked if group.answer.ranking]
    return RolloutMetrics(
        policy_version=version,
        reward_mean=mean([r for group in ranked for r in group.rewards]),
        verified_mean=mean([v for g in gathered.seen for v in g.verified if v is not None]),
        reward_std=mean([statistics.pstdev(group.rewards) for group in ranked]),
        groups=len(gathered.seen),
        groups_failed=len(gathered.seen) - len(ranked),
        groups_tied=len(ranked) - len(gathered.kept),
        groups_trained=len(gathered.kept),
        signal_share=len(gathered.kept) / len(gathered.seen) if gathered.seen else None,
        reliability=mean([r.reliability for r in known if r.reliability is not None]),
        tokens=sum(lengths),
        completion_tokens=mean(lengths),
        completion_tokens_p95=percentile(lengths, 0.95),
        truncated_share=mean([float(a.finish_reason == "length") for a in attempts]),
        turns=mean([float(a.num_turns) for a in attempts]),
        restarted_samples=sum(len(a.samples) - 1 for a in attempts),
        entropy=entropy(gathered.seen),
        prompts_too_long=gathered.too_long,
        skipped=int(gathered.is_skipped),
        servers_ready=gathered.servers_ready,
    )


def held_out_metrics(held_out: HeldOut | None) -> HeldOutMetrics:
    if held_out is None:
        return HeldOutMetrics()
    wins = held_out.win_rate
    if wins is None:
        return HeldOutMetrics(held_out.score, held_out.lost)
    lost = held_out.lost
    return HeldOutMetrics(held_out.score, lost, wins.rate, wins.stderr, wins.prompts, wins.failed)


def trained_metrics(gathered: Gathered, version: int, lr: float | None) -> TrainedMetrics:
    """Return the numbers of an update of the weights of this version."""
    advantages = [a for group in gathered.advantages for a in group]
    ages = [
        version - drawn
        for group in gathered.kept
        for attempt in group.attempts
        for sample in attempt.samples
        for drawn, is_sampled in zip(sample.policy_versions, sample.loss_mask, strict=True)
        if is_sampled
    ]
    norm = math.sqrt(statistics.fmean(a * a for a in advantages)) if advantages else None
    return TrainedMetrics(lr, norm, mean(ages), max(ages, default=None))


def entropy(groups: Sequence[RankedGroup]) -> float | None:
    """Estimate the entropy of a token from the log-probabilities of those that were sampled."""
    logprobs = [
        logprob
        for group in groups
        for attempt in group.attempts
        for sample in attempt.samples
        for logprob, is_sampled in zip(sample.behavior_logprobs, sample.loss_mask, strict=True)
        if is_sampled
    ]
    return -statistics.fmean(logprobs) if logprobs else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of the values does not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]


def mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
