"""Posteriors over signal ratios, against numbers by hand and direct inverses."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

from podium_service.scoring.least_squares import least_squares
from podium_service.scoring.posterior import (
    Component,
    average,
    certain,
    expected_reliability,
    mix_ratios,
    predict_ratios,
    win_probabilities,
)
from podium_service.scoring.signal_ratio import PRIOR_R, RATIOS_R

Phi = NormalDist().cdf


def test_components_are_shrunk_by_the_reliability_of_their_ratio() -> None:
    posterior = mix_ratios([0.2, 0.8], [0.1, 0.2], PRIOR_R, 2.0)
    by_ratio = dict(zip(RATIOS_R.tolist(), posterior, strict=True))
    assert by_ratio[0].means == [0.5, 0.5]
    assert by_ratio[0].stderr == [0, 0]
    # Two passes at ratio 1: 2 / 3 of the distance is left, and sqrt(2 / 3) of the error.
    assert by_ratio[1].means == pytest.approx([0.3, 0.7])
    assert by_ratio[1].stderr == pytest.approx([0.1 * sqrt(2 / 3), 0.2 * sqrt(2 / 3)])
    assert by_ratio[1].reliability == pytest.approx(2 / 3)
    assert by_ratio[1].weight == PRIOR_R[RATIOS_R == 1]


def test_a_group_of_equals_wins_half_of_its_weight() -> None:
    posterior = (
        Component(0.4, [0.5, 0.5], [0.0, 0.0], 0),
        Component(0.6, [0.4, 0.6], [0.1, 0.1], 1),
    )
    wins_II = win_probabilities(posterior)
    expected = 0.4 * 0.5 + 0.6 * Phi(0.2 / sqrt(0.02))
    assert wins_II[1, 0] == pytest.approx(expected)
    assert wins_II[0, 1] == pytest.approx(1 - expected)
    assert wins_II[0, 0] == wins_II[1, 1] == 0.5


def test_without_error_the_sign_decides_and_ties_are_exact() -> None:
    wins_II = win_probabilities(certain([0.2, 0.7, 0.7]))
    assert wins_II.tolist() == [[0.5, 0, 0], [1, 0.5, 0.5], [1, 0.5, 0.5]]
    weights_R = np.full(len(RATIOS_R), 1 / 17)
    tied_II = win_probabilities(mix_ratios([0.3, 0.1, 0.3], [0.1] * 3, weights_R, 1.0))
    assert tied_II[0, 2] == tied_II[2, 0] == 0.5


def test_chances_stay_within_0_and_1_in_spite_of_rounding() -> None:
    weights_R = np.full(len(RATIOS_R), 1 / 17)
    weights_R[0] = 0
    weights_R /= weights_R.sum()
    for shift in np.linspace(0, 1e-15, 9):
        posterior = mix_ratios([0.0, 1.0], [1e-3, 1e-3], weights_R * (1 + shift), 1.0)
        wins_II = win_probabilities(posterior)
        assert wins_II.min() >= 0
        assert wins_II.max() <= 1


def test_the_average_adds_up_errors_in_and_between_components() -> None:
    posterior = (
        Component(0.5, [0.0, 1.0], [0.1, 0.0], 1),
        Component(0.5, [0.2, 1.0], [0.3, 0.0], 1),
    )
    means, stderr = average(posterior)
    assert means == pytest.approx([0.1, 1])
    assert stderr == pytest.approx([sqrt((0.01 + 0.09) / 2 + 0.01), 0])


def test_more_passes_raise_the_expected_reliability() -> None:
    # Ratios 0, .5 and 2 with probabilities .2, .3 and .5: kR / (1 + kR) after 1 and after 3 passes.
    shares = {0.0: 0.2, 1 / 3: 0.3, 2 / 3: 0.5}
    posterior = tuple(Component(weight, [], [], share) for share, weight in shares.items())
    assert expected_reliability(posterior) == pytest.approx(0.3 / 3 + 0.5 * 2 / 3)
    assert expected_reliability(posterior, 3.0) == pytest.approx(0.3 * 1.5 / 2.5 + 0.5 * 6 / 7)
    assert expected_reliability(certain([0.1, 0.2]), 2.0) == 1


def test_an_incomplete_design_is_predicted_at_each_ratio() -> None:
    passes = [([0, 1, 2], [0.1, 0.4, 0.6]), ([2, 3, 4], [0.5, 0.9, 0.2]), ([4, 0], [0.3, 0.2])]
    fit = least_squares(5, passes, None)
    posterior = predict_ratios(fit, 0.01, PRIOR_R)
    about_mean_II = np.eye(5) - 1 / 5
    effects_I = np.array(fit.effects_I)
    for ratio, component in zip(RATIOS_R, posterior, strict=True):
        if not ratio:
            assert len(set(component.means)) == 1
            assert component.stderr == [0] * 5
            continue
        covariance_II = np.linalg.inv(fit.laplacian_II + np.eye(5) / ratio)
        means_I = effects_I.mean() + about_mean_II @ covariance_II @ fit.laplacian_II @ effects_I
        variances_I = (about_mean_II @ covariance_II @ about_mean_II).diagonal() * 0.01 * 5 / 4
        assert component.means == pytest.approx(means_I.tolist())
        assert component.stderr == pytest.approx(np.sqrt(variances_I).tolist())
