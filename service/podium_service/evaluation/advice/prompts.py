"""Compare the prompts of a judge on the same labelled groups, and choose the better one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podium_service.evaluation.measures import JudgedGroup, reward_agreement
from podium_service.evaluation.run_judge import GroupOutcome
from podium_service.prompts.wording import Style
from podium_service.scoring.bootstrap import Bootstrap, Measure

PROMPTS: tuple[Style, ...] = ("long", "short")

_NOT_RANKED = "no group was ranked whose labels differ"


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """The judge's answers under one prompt.

    Attributes:
        outcomes: of each group.
        groups: each joined with its labels; None where it was not ranked.
    """

    outcomes: Sequence[GroupOutcome]
    groups: Sequence[JudgedGroup | None]


@dataclass(frozen=True, slots=True)
class PromptTrial:
    """The measures of one prompt.

    Attributes:
        auc: chance that the better of two attempts gets the higher reward.
        ahead: mean difference of that to the other prompt, over the groups that both ranked.
        tokens: prompt and completion tokens of a ranked group.
    """

    prompt: Style
    auc: Measure
    ahead: Measure
    tokens: Measure


def measure_prompts(tried: Mapping[Style, TriedPrompt]) -> list[PromptTrial]:
    """Measure two prompts that were tried on the same one or more groups."""
    aucs = {prompt: _aucs(each.groups) for prompt, each in tried.items()}
    trials = []
    for prompt, each in tried.items():
        bootstrap = Bootstrap(len(each.outcomes))
        [other] = [values for name, values in aucs.items() if name != prompt]
        differences = [
            None if mine is None or theirs is None else mine - theirs
            for mine, theirs in zip(aucs[prompt], other, strict=True)
        ]
        trials.append(
            PromptTrial(
                prompt,
                bootstrap.mean(aucs[prompt], _NOT_RANKED),
                bootstrap.mean(differences, "no group was ranked under both prompts"),
                bootstrap.mean(list(map(_count_tokens, each.outcomes)), "no group was ranked"),
            )
        )
    return trials


def choose_prompt(trials: Sequence[PromptTrial]) -> Style | None:
    """Return the prompt whose 95% interval is ahead of the other's, or else the cheaper one.

    A prompt under which no group was ranked is not chosen; None if there is no other.
    """
    usable = [trial for trial in trials if trial.auc.value is not None]
    better = [trial for trial in usable if (trial.ahead.low or 0.0) > 0.0]
    cheapest = sorted(better or usable, key=lambda trial: trial.tokens.value or 0.0)
    return cheapest[0].prompt if cheapest else None


def _aucs(groups: Sequence[JudgedGroup | None]) -> list[float | None]:
    agreements = [reward_agreement(group) if group else None for group in groups]
    return [agreement.auc if agreement else None for agreement in agreements]


def _count_tokens(outcome: GroupOutcome) -> float | None:
    if outcome.ranking is None:
        return None
    usages = [call.usage for call in outcome.calls]
    return float(sum(usage.prompt_tokens + usage.completion_tokens for usage in usages))
