"""Simulated judges without a wire: scores for orders, whole plans played to their end."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from podium_service.prompts.verdict import Verdict
from podium_service.ranking.methods import Method, Situation
from podium_service.ranking.methods.designs import balanced_orders
from podium_service.scoring.least_squares import Pass, least_squares
from podium_service.scoring.noise import PastGroup

Floats = NDArray[np.float64]
Scorer = Callable[[Sequence[int]], list[float]]


def scorer(
    truth: Sequence[float] | Floats,
    noise_sd: float,
    random: np.random.Generator,
    slope: float = 0.0,
) -> Scorer:
    """Make a judge with noise, moods and a liking for late slots: `slope` from first to last."""

    def score(order: Sequence[int]) -> list[float]:
        slots = np.linspace(-slope / 2, slope / 2, len(order)) if len(order) > 1 else np.zeros(1)
        mood, noise = random.normal(0, 0.1), random.normal(0, noise_sd, len(order))
        return [float(each) for each in np.asarray(truth)[list(order)] + slots + mood + noise]

    return score


def listwise_passes(num_items: int, passes: int, seed: int, score: Scorer) -> list[Pass]:
    return [(order, score(order)) for order in balanced_orders(num_items, passes, seed)]


def past_groups(
    count: int,
    random: np.random.Generator,
    *,
    num_items: int = 8,
    passes: int = 4,
    noise_sd: Callable[[], float] = lambda: 0.1,
    signal_sd: Callable[[], float] = lambda: 0.1,
    slope: float = 0.0,
) -> list[PastGroup]:
    """Return what so many groups of one judge tell about it."""
    found = []
    for seed in range(count):
        truth = random.normal(0.5, 1, num_items) * signal_sd()
        score = scorer(truth, noise_sd(), random, slope)
        fit = least_squares(num_items, listwise_passes(num_items, passes, seed, score), None)
        found.append(PastGroup.from_fit(fit, num_items))
    return found


def verdict(order: Sequence[int], scores: Sequence[float]) -> Verdict:
    return Verdict(list(order), [""] * len(order), list(scores), [""] * len(order))


def play(
    method: Method, situation: Situation, score: Scorer, calls: float = float("inf")
) -> tuple[Situation, list[int]]:
    """Ask all that the method plans; the last situation, and how many calls each plan made."""
    asked: list[int] = []
    while True:
        situation = situation.with_verdicts(situation.verdicts, calls - sum(asked))
        plan = method.plan(situation)
        if not plan:
            return situation, asked
        assert not set(plan) & set(situation.verdicts)
        asked.append(len(plan))
        new = {index: verdict(order, score(order)) for index, order in plan.items()}
        situation = situation.with_verdicts({**situation.verdicts, **new}, calls - sum(asked))
