"""Win probabilities where the judge told probabilities: its own doubt is kept."""

from dataclasses import replace
from math import exp, log, pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.scoring.estimate import (
    NATS_PER_SCORE,
    Estimate,
    Scale,
    estimate_exact,
    estimate_passes,
)
from podium_service.scoring.noise import JudgeNoise
from podium_service.scoring.posterior import certain
from podium_service.scoring.rewards import compute_rewards

NATS = st.lists(st.floats(-12, 0), min_size=2, max_size=9)


def told(nats: list[float], stderr: float = 0.0) -> Estimate:
    """Return utilities in nats with independent errors, also in nats, and nothing to shrink."""
    scores = [1 + each / NATS_PER_SCORE for each in nats]
    errors = [stderr / NATS_PER_SCORE] * len(nats)
    exact = replace(estimate_exact(scores), scale="log_probability", stderr=errors)
    return replace(exact, posterior=certain(exact.means, errors))


def wins(estimate: Estimate) -> list[float]:
    return compute_rewards(estimate, "win_probability")


def sigmoid(nats: float) -> float:
    return 1 / (1 + exp(-nats))


def test_without_noise_a_choice_is_as_likely_as_the_judge_says() -> None:
    assert wins(told([log(0.52), log(0.48)])) == pytest.approx([0.52, 0.48])
    thirds = wins(told([log(0.5), log(0.25), log(0.25)]))
    assert thirds == pytest.approx([2 / 3, (1 / 3 + 1 / 2) / 2, (1 / 3 + 1 / 2) / 2])


def test_noise_moves_a_choice_toward_half_as_by_hand() -> None:
    """The difference is 1.2 nats, its variance .5^2 + .5^2."""
    [ahead, behind] = wins(told([0.0, -1.2], stderr=0.5))
    assert ahead == pytest.approx(sigmoid(1.2 / sqrt(1 + pi / 8 * 0.5)))
    assert ahead + behind == pytest.approx(1)


@pytest.mark.parametrize(("nats", "stderr"), [(0.3, 0.2), (1.2, 0.5), (4.0, 1.0), (2.0, 3.0)])
def test_the_average_of_the_sigmoid_is_close_to_exact(nats: float, stderr: float) -> None:
    """By quadrature over the normal distribution of the difference."""
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    exact = float((weight / weight.sum()) @ (1 / (1 + np.exp(-nats - sqrt(2) * stderr * z))))
    assert wins(told([0.0, -nats], stderr))[0] == pytest.approx(exact, abs=0.015)


def test_a_configured_noise_shrinks_a_single_pass() -> None:
    passes = [([0, 1], [1.0, 1 - 0.5 / NATS_PER_SCORE])]
    loud = JudgeNoise.from_sd(2.0 / NATS_PER_SCORE)
    [known, unknown] = (
        wins(replace(estimate_passes(2, passes, noise), scale="log_probability"))[0]
        for noise in (loud, None)
    )
    assert unknown == pytest.approx(sigmoid(0.5))
    assert 0.5 < known < 0.56


@given(NATS, st.floats(0, 3))
def test_choices_average_half_and_follow_the_order(nats: list[float], stderr: float) -> None:
    rewards = wins(told(nats, stderr))
    assert sum(rewards) == pytest.approx(len(nats) / 2)
    assert all(0 <= reward <= 1 for reward in rewards)
    for nat, reward in zip(nats, rewards, strict=True):
        for other_nat, other in zip(nats, rewards, strict=True):
            assert (reward > other) <= (nat > other_nat)


@pytest.mark.parametrize(
    ("chances", "by_hand"),
    [
        ([0.52, 0.48], [0.52, 0.48]),
        ([1.0, 0.0], [1.0, 0.0]),
        ([0.9, 0.5, 0.1], [0.8, 0.5, 0.2]),
        ([0.7, 0.7, 0.7], [0.5, 0.5, 0.5]),
    ],
)
def test_a_yes_wins_half_its_lead(chances: list[float], by_hand: list[float]) -> None:
    answered = replace(estimate_exact(chances), scale="probability")
    assert wins(answered) == pytest.approx(by_hand)


@pytest.mark.parametrize("scale", ["log_probability", "probability"])
def test_ranks_do_not_depend_on_the_scale(scale: Scale) -> None:
    exact = estimate_exact([0.52, 0.48, 0.5])
    assert compute_rewards(replace(exact, scale=scale), "rank") == [1, 0, 0.5]
