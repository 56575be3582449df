"""Measure a judge on labelled groups, and write its card as JSON and as an HTML page."""

import re
from collections.abc import Sequence
from pathlib import Path

import orjson

from podium_service.errors import ConfigError
from podium_service.evaluation.advice.prompts import (
    PROMPTS,
    TriedPrompt,
    choose_prompt,
    measure_prompts,
)
from podium_service.evaluation.card import Card, make_card
from podium_service.evaluation.labelled_groups import LabelledGroup
from podium_service.evaluation.measures import JudgedGroup, Pass
from podium_service.evaluation.page import render
from podium_service.evaluation.run_judge import GroupOutcome, JudgeRunner
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.wording import Style

_GATED_REWARD = -1.0


async def calibrate(
    runner: JudgeRunner, judge: str, groups: Sequence[LabelledGroup], data: str
) -> Card:
    """Rank one or more groups with the judge as it is configured, and measure it.

    The card names `data`, the file of the groups.

    Raises:
        UnknownJudge: If there is no such judge.
        PodiumError: The first group's error, if no group could be ranked.
    """
    tried = await _try_judge(runner, judge, groups)
    require_one_ranked(judge, tried.outcomes)
    settings = runner.judges.roster.config.judges[judge]
    return make_card(judge, settings, data, tried.outcomes, tried.groups)


async def calibrate_prompts(
    runner: JudgeRunner, judge: str, groups: Sequence[LabelledGroup], data: str
) -> Card:
    """Rank one or more groups under each prompt, and measure the judge under the better one.

    Raises:
        ConfigError: If the judge is no LLM, and so has no prompt.
        UnknownJudge: If there is no such judge.
        PodiumError: The first group's error, if no group could be ranked under either prompt.
    """
    runner.judges.roster.chain(judge)
    settings = runner.judges.roster.config.judges[judge]
    if not isinstance(settings, LLMJudge):
        raise ConfigError(f"--prompts: judge {judge!r} is of kind {settings.kind}: name an llm")
    tried: dict[Style, TriedPrompt] = {}
    for prompt in PROMPTS:
        variant = f"{judge}, {prompt} prompt"
        runner.add_variant(judge, variant, {"prompt": prompt})
        tried[prompt] = await _try_judge(runner, variant, groups)
    trials = measure_prompts(tried)
    best = choose_prompt(trials) or PROMPTS[0]
    outcomes = tried[best].outcomes
    require_one_ranked(judge, outcomes)
    settings = settings.model_copy(update={"prompt": best})
    return make_card(judge, settings, data, outcomes, tried[best].groups, trials)


async def _try_judge(
    runner: JudgeRunner, judge: str, groups: Sequence[LabelledGroup]
) -> TriedPrompt:
    outcomes = await runner.rank_all(judge, [group.request for group in groups])
    settings = runner.judges.roster.config.judges[judge]
    joined = [
        join_labels(group, outcome, show_reasoning=settings.show_reasoning)
        for group, outcome in zip(groups, outcomes, strict=True)
    ]
    return TriedPrompt(outcomes, joined)


def require_one_ranked(judge: str, outcomes: Sequence[GroupOutcome]) -> None:
    """Raise the first group's error if no group was ranked."""
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    if len(failures) == len(outcomes):
        first = failures[0]
        raise type(first)(
            f"judge {judge!r} ranked none of {len(outcomes)} groups: {first.detail}",
            fields=first.fields,
            retry_after_s=first.retry_after_s,
        ) from first


def join_labels(
    group: LabelledGroup, outcome: GroupOutcome, *, show_reasoning: bool = False
) -> JudgedGroup | None:
    """Join the labels of a group with its rewards and verdicts; None if it was not ranked.

    Trajectories with the same text are one item, whose label is the mean of their labels.
    """
    if outcome.ranking is None:
        return None
    labels, results = group.labels, outcome.ranking.results
    gated = [
        i
        for i, result in enumerate(results)
        if any(flag.startswith("gate:") for flag in result.flags)
    ]
    shown_indices = [i for i in range(len(results)) if i not in gated]
    transcript = transcribe(group.request, shown_indices, show_reasoning=show_reasoning)
    members = transcript.members  # for each body, the trajectories that have its text
    return JudgedGroup(
        labels=[sum(labels[i] for i in indices) / len(indices) for indices in members]
        + [labels[i] for i in gated],
        rewards=[results[first].reward for first, *_ in members] + [_GATED_REWARD] * len(gated),
        num_characters=[len(body) for body in transcript.bodies],
        passes=_list_passes(outcome, len(transcript.bodies)),
    )


def write_card(card: Card, out: Path) -> tuple[Path, Path]:
    """Write `JUDGE.json` and `JUDGE.html` into the folder `out`, and return their paths.

    Raises:
        ConfigError: If they cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "_", card.judge).lstrip(".") or "judge"
    data, page = out / f"{name}.json", out / f"{name}.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        data.write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2) + b"\n")
        page.write_text(render(card), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error
    return data, page


def _list_passes(outcome: GroupOutcome, num_bodies: int) -> list[Pass]:
    """Return all verdicts as passes, without the planted body, which is no item of the group."""
    passes = []
    for key, verdicts in outcome.verdicts.items():
        for verdict in verdicts:
            pairs = [
                (item, score)
                for item, score in zip(verdict.order, verdict.scores, strict=True)
                if 0 <= item < num_bodies
            ]
            if pairs:
                passes.append(Pass([item for item, _ in pairs], [score for _, score in pairs], key))
    return passes
