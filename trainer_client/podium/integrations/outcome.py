"""What all hooks make of the outcomes of groups: one policy, and the same metrics everywhere.

- A group that failed becomes what its trainer calls *left out*, and always as a whole.
- A fault that no later group can escape stops the run at the first batch, and names the field; an
  outage stops it after `max_dry` batches. The client raises both, so a hook asks by `rank_many` or
  `try_rank` and lets their errors pass.
- A group may hold an *anchor*: a fixed opponent that is ranked among the trajectories and never
  trained on. Rewards are relative and average a half, so the win rate against the anchor, and the
  judge's score, are what tells whether a policy gets better.

    outcome = client.try_rank(with_anchor(group, reference_messages))
    log(metrics([outcome]))
    rewards = rewards_of(outcome)  # None: leave the group out

The first answer of a run also tells where people can look at its groups (`tell_page`).

Nothing here knows a trainer. To add a metric, add it to `metrics` and to the table in
`docs/integrations/index.md`.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean
from typing import Any

from podium.answers import GroupReward, TrajectoryResult
from podium.groups import Trajectory, TrajectoryGroup

_log = logging.getLogger("podium")
ANCHOR_ID = "podium-anchor"
MAX_GROUP_ID_CHARS = 256  # the service refuses longer ones


def with_anchor(
    group: TrajectoryGroup, messages: Sequence[Mapping[str, Any]] | None
) -> TrajectoryGroup:
    """Return the group with an anchor as its last trajectory.

    Args:
        group: the trajectories that are trained on.
        messages: the anchor's conversation, the prompt first; None for a group without an anchor.
    """
    if messages is None:
        return group
    anchor = Trajectory(ANCHOR_ID, messages)
    return replace(group, trajectories=[*group.trajectories, anchor])


def results_of(outcome: GroupReward) -> list[TrajectoryResult] | None:
    """Return the results of the trajectories that are trained on; None if the group failed."""
    if outcome.results is None:
        return None
    return [result for result in outcome.results if result.id != ANCHOR_ID]


def rewards_of(outcome: GroupReward) -> list[float] | None:
    """Return the rewards of the trajectories that are trained on; None if the group failed."""
    results = results_of(outcome)
    return None if results is None else [result.reward for result in results]


def win_rate(outcome: GroupReward, member: str | None = None) -> float | None:
    """Return the share of the trajectories that rank before the anchor, where a tie counts half.

    None if the group failed or has no anchor.

    Args:
        outcome: the outcome of the group.
        member: the id of the only trajectory that counts; None for all that are trained on.
    """
    ranks = {result.id: result.rank for result in outcome.results or ()}
    anchor = ranks.pop(ANCHOR_ID, None)
    counted = [rank for name, rank in ranks.items() if member in (None, name)]
    if anchor is None or not counted:
        return None
    return fmean(_wins(rank, anchor) for rank in counted)


def metrics(outcomes: Sequence[GroupReward]) -> dict[str, float]:
    """Return the metrics of the groups of one batch, under the names that all hooks use.

    `podium/score` and `podium/reliability` are means over trajectories and over groups,
    `podium/win_rate` is a mean over groups, all others are sums. A metric that no group tells is
    left out, so that a mean over batches stays right.
    """
    rankings = [outcome.ranking for outcome in outcomes if outcome.ranking is not None]
    usages = [ranking.usage for ranking in rankings if ranking.usage is not None]
    scores = [result.score for outcome in outcomes for result in results_of(outcome) or ()]
    means = {
        "podium/score": scores,
        "podium/win_rate": [win_rate(outcome) for outcome in outcomes],
        "podium/reliability": [ranking.reliability for ranking in rankings],
    }
    known = {name: [v for v in values if v is not None] for name, values in means.items()}
    found = {name: fmean(values) for name, values in known.items() if values}
    found["podium/groups_ranked"] = float(len(rankings))
    found["podium/groups_failed"] = float(len(outcomes) - len(rankings))
    found["podium/judge_tokens"] = float(
        sum(usage.prompt_tokens + usage.completion_tokens for usage in usages)
    )
    costs = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
    if costs:
        found["podium/cost_usd"] = sum(costs)
    return found


def columns(outcomes: Sequence[GroupReward], sizes: Sequence[int]) -> dict[str, list[Any]]:
    """Return what to show beside the completions of groups, one value for each.

    Args:
        outcomes: the outcomes of the groups.
        sizes: of each group, the number of trajectories that are trained on.

    Returns:
        The columns `podium/ranking`, `podium/rank`, `podium/score`, `podium/explanation` and
        `podium/error`, with None where there is nothing to show.
    """
    shown: dict[str, list[Any]] = {}
    for outcome, size in zip(outcomes, sizes, strict=True):
        results: Sequence[TrajectoryResult | None] = results_of(outcome) or [None] * size
        ranking_id = outcome.ranking.id if outcome.ranking is not None else None
        error = str(outcome.error) if outcome.error is not None else None
        own: dict[str, list[Any]] = {
            "podium/ranking": [ranking_id] * size,
            "podium/rank": [result.rank if result else None for result in results],
            "podium/score": [result.score if result else None for result in results],
            "podium/explanation": [result.explanation if result else None for result in results],
            "podium/error": [error] * size,
        }
        for name, values in own.items():
            shown.setdefault(name, []).extend(values)
    return shown


def run_metadata(trainer: str, run: str | None, step: int | None) -> dict[str, Any]:
    """Return the metadata of a group: the run, the step, the trainer and its version.

    Args:
        trainer: the name of the trainer's distribution.
        run: the name of the run, if it has one.
        step: the trainer's step, if it tells it.
    """
    try:
        installed = version(trainer)
    except PackageNotFoundError:  # it runs from its sources
        installed = None
    values = {"run": run, "step": step, "trainer": trainer, "version": installed}
    return {name: value for name, value in values.items() if value is not None}


@cache
def tell_page(url: str) -> None:
    """Tell where people can look at the groups of a run, once in each process.

    The line goes to stderr unless the program shows INFO in its log, because few programs do.

    Args:
        url: as `page(run=...)` of a client returns it.
    """
    if _log.isEnabledFor(logging.INFO) and _log.hasHandlers():
        _log.info("the groups of this run: %s", url)
    else:
        sys.stderr.write(f"podium: the groups of this run: {url}\n")


@cache
def warn_of_spread(setting: str, instead: str) -> None:
    """Warn, once in each process, that a trainer divides advantages by the spread of their group.

    Args:
        setting: what does it.
        instead: what to set.
    """
    _log.warning(
        "%s divides the advantages of each group by their spread, so that a near tie trains as "
        "hard as a clear win; set %s",
        setting,
        instead,
    )


def _wins(rank: float, against: float) -> float:
    if rank == against:
        return 0.5
    return 1.0 if rank < against else 0.0
