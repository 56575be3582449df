"""Compare attempts of now with those of step 0: the share in which a judge prefers those of now.

A group of the win rate holds some attempts of the present policy and some of step 0 at the same
held-out prompt, in random order and under ids that tell nothing. The service ranks it as any other
group. Its metadata say which ids are of step 0; no judge sees metadata. docs/monitoring.md has the
form.
"""

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from podium.answers import GroupReward
from podium.groups import Trajectory, TrajectoryGroup
from podium_trainer.policy.samples import FinishReason
from podium_trainer.tasks.task import MAX_GROUP_ID_CHARS, Message, Prompt

KIND = "win_rate"
BASELINE_STEP = 0
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Played:
    """An attempt as it is compared.

    Attributes:
        messages: its messages, prompt first.
        finish_reason: why it ended.
        environment_reward: as of an `Attempt`.
    """

    messages: Sequence[Message]
    finish_reason: FinishReason
    environment_reward: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A group of attempts of now and of step 0 at one prompt.

    Attributes:
        group: as the service gets it.
        ids: the ids in the group of the attempts of now, in their order.
    """

    group: TrajectoryGroup
    ids: list[str]


@dataclass(frozen=True)
class WinRate:
    """The win rate over P held-out prompts.

    Attributes:
        rate: the mean over prompts of the share of pairs that the attempt of now wins, in [0, 1];
            None if no group was ranked.
        stderr: its standard error over prompts; None for fewer than two.
        prompts: the number P of prompts whose group was ranked.
        failed: the number of groups that could not be ranked, and are left out.
    """

    rate: float | None
    stderr: float | None
    prompts: int
    failed: int


def mix(
    prompt: Prompt,
    now: Sequence[Played],
    baseline: Sequence[Played],
    *,
    run: str,
    step: int,
    seed: str,
    judge: str | None = None,
    rubric: str | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
    verify: Callable[[Played], float | None] = lambda attempt: None,
) -> Comparison:
    """Mix attempts of now with attempts of step 0 into one group.

    Args:
        prompt: the prompt of all attempts.
        now, baseline: the attempts, at least one of each.
        run: the name of the run.
        step: the step of the attempts of now.
        seed: decides the order, together with the step and the prompt.
        judge, rubric: None for the service's defaults.
        tools: OpenAI definitions of the tools that the attempts could call.
        verify: returns an attempt's verified reward, without which a judge that mixes it in ranks
            no group; it does not count for ranks.
    """
    attempts = [*now, *baseline]
    order = list(range(len(attempts)))
    random.Random(f"{seed}/{step}/{prompt.id}").shuffle(order)
    ids = {place: str(shown) for shown, place in enumerate(order)}
    metadata = {
        "run": run,
        "step": step,
        "prompt_id": prompt.id,
        "kind": KIND,
        "baseline_step": BASELINE_STEP,
        "baseline": [ids[place] for place in order if place >= len(now)],
    }
    group = TrajectoryGroup(
        [
            Trajectory(
                ids[place],
                each.messages,
                finish_reason=each.finish_reason,
                verified_reward=verify(each),
            )
            for place, each in ((place, attempts[place]) for place in order)
        ],
        group_id=f"win-rate/step-{step}/{prompt.id}"[:MAX_GROUP_ID_CHARS],
        judge=judge,
        task=prompt.task,
        reference=prompt.reference,
        rubric=rubric,
        tools=tools or None,
        metadata=metadata,
    )
    return Comparison(group, [ids[place] for place in range(len(now))])


def share_won(comparison: Comparison, outcome: GroupReward) -> float | None:
    """Return the share of pairs in which the attempt of now ranks first; a tie counts half.

    Args:
        comparison: the group that was sent.
        outcome: the service's answer.

    Returns:
        A number in [0, 1]; None if the group could not be ranked.
    """
    if outcome.results is None:
        return None
    now = [result.rank for result in outcome.results if result.id in comparison.ids]
    old = [result.rank for result in outcome.results if result.id not in comparison.ids]
    return statistics.fmean(
        1.0 if mine < other else 0.5 if mine == other else 0.0 for mine in now for other in old
    )


def average(shares: Sequence[float | None]) -> WinRate:
    """Average the shares that each prompt's group won; None stands for a group that failed.

    The pairs of one group depend on each other, so a prompt counts as one observation.
    """
    known = [share for share in shares if share is not None]
    return WinRate(
        rate=statistics.fmean(known) if known else None,
        stderr=statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None,
        prompts=len(known),
        failed=len(shares) - len(known),
    )


def interval(rate: float, stderr: float, prompts: int) -> tuple[float, float]:
    """Return the 95% interval of a win rate, by Student's t.

    Prompts are the observations; the attempts at one prompt are a cluster.

    Args:
        rate, stderr: the win rate and its standard error.
        prompts: the number of prompts; at least two, unless the standard error is 0.
    """
    reach = t_quantile(prompts - 1) * stderr if stderr else 0.0
    return max(0.0, rate - reach), min(1.0, rate + reach)


def t_quantile(df: int) -> float:
    """Return the .975 quantile of Student's t distribution, within .2%.

    Source:
        The expansion in 1/df of Abramowitz and Stegun 1964, 26.7.5; exact forms for df 1 and 2.
    """
    share = (1 + CONFIDENCE) / 2
    if df == 1:
        return math.tan(math.pi * (share - 0.5))
    if df == 2:
        return (2 * share - 1) / math.sqrt(2 * share * (1 - share))
    z: float = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(df**power) for power, term in enumerate(terms, 1))
