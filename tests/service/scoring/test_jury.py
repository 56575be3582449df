"""Combined estimates of jurors, against numbers by hand and simulated juries."""

from math import sqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau

from podium_service.scoring.jury import Juror, JuryEstimate, combine
from podium_service.scoring.rewards import win_probability

Floats = NDArray[np.float64]

scores = st.integers(0, 20).map(lambda twentieths: twentieths / 20)


@st.composite
def juries(draw: st.DrawFn) -> list[Juror]:
    size = draw(st.integers(2, 8))
    jury: list[Juror] = []
    for k in range(draw(st.integers(1, 4))):
        means = draw(st.lists(scores, min_size=size, max_size=size))
        stderr = draw(st.one_of(st.none(), st.floats(0, 0.3)))
        jury.append(Juror(f"juror {k}", means, stderr, draw(st.floats(0, 1))))
    return jury


def passes(truth: Floats, random: np.random.Generator, scale: float = 0.12) -> Floats:
    """Return four noisy passes of one juror, shape (4, N), on a grid in [0, 1]."""
    noisy = 0.5 + scale * (truth + random.normal(size=(4, len(truth))))
    return np.clip(np.round(noisy / 0.05) * 0.05, 0, 1)


def juror(name: str, given: Floats) -> Juror:
    """Return the estimate of one juror's passes by a two-way layout."""
    means = given.mean(axis=0)
    residuals = given - given.mean(axis=1, keepdims=True) - means + given.mean()
    error = float((residuals**2).sum()) / ((len(given) - 1) * (len(means) - 1))
    between = len(given) * float(means.var(ddof=1))
    reliability = max(0.0, 1 - error / between) if between > 1e-12 else 0.0
    return Juror(name, means.tolist(), sqrt(error / len(given)), reliability)


def rewards(estimate: JuryEstimate) -> Floats:
    return np.array(win_probability(estimate))


def combine_rows(rows: list[Floats]) -> JuryEstimate:
    return combine([juror(f"juror {k}", row) for k, row in enumerate(rows)])


def test_equal_jurors_equal_an_average_by_hand() -> None:
    # Same spread and noise, so weights 1/2; residuals +-.05 on two items, 0 on two.
    result = combine(
        [
            Juror("a", [0.2, 0.4, 0.6, 0.8], 0.05, 0.9),
            Juror("b", [0.3, 0.3, 0.7, 0.7], 0.05, 0.9),
        ]
    )
    assert result.means == pytest.approx([0.25, 0.35, 0.65, 0.75], abs=0.02)
    assert [report.weight for report in result.jurors] == [0.5, 0.5]
    # Six pairs; b ties two of them and agrees on four: tau_b = 4 / sqrt(6 * 4).
    assert result.jurors[0].agreement == pytest.approx(4 / sqrt(24))
    assert result.reliability > 0.7


def test_jurors_that_agree_exactly_have_no_error() -> None:
    result = combine([Juror(name, [0.0, 0.5, 1.0], 0.0, 1.0) for name in "abc"])
    assert result.means == [0.0, 0.5, 1.0]
    assert result.stderr == [0.0, 0.0, 0.0]
    assert (result.reliability, result.p_value) == (1, 0)


def test_a_jurors_own_scale_does_not_matter() -> None:
    means = [0.1, 0.3, 0.4, 0.8, 0.9]
    narrow = Juror("narrow", [0.5 + mean / 10 for mean in means], 0.003, 0.95)
    result = combine([Juror("wide", means, 0.03, 0.95), narrow])
    assert [report.weight for report in result.jurors] == pytest.approx([0.5, 0.5], abs=0.05)
    gaps = np.diff(result.means) / np.diff(means)
    assert gaps == pytest.approx([gaps[0]] * 4)


def test_one_juror_keeps_its_means_and_errors() -> None:
    result = combine([Juror("a", [0.2, 0.5, 0.8], 0.05, 0.9)])
    assert result.means == pytest.approx([0.2, 0.5, 0.8])
    assert result.stderr == pytest.approx([0.05] * 3)
    assert result.jurors[0].weight == 1
    assert result.jurors[0].agreement == 0


def test_jurors_that_tie_all_items_have_no_reliability() -> None:
    result = combine([Juror(name, [0.4, 0.4, 0.4], 0.0, 0.0) for name in "abc"])
    assert result.means == [0.4] * 3
    assert result.reliability == 0


def test_a_juror_that_ties_all_items_has_no_weight() -> None:
    others = [Juror(name, [0.2, 0.5, 0.8], 0.05, 0.9) for name in "ab"]
    result = combine([*others, Juror("c", [0.5, 0.5, 0.5], 0.0, 0.0)])
    assert [report.weight for report in result.jurors] == [0.5, 0.5, 0]
    assert result.jurors[2].status == "counted"


HONEST = [0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8]


def test_a_fooled_juror_loses_its_vote_on_that_item_only() -> None:
    fooled = [1.0, *HONEST[1:]]
    rest = [Juror("a", HONEST, 0.03, 0.9), Juror("b", HONEST, 0.03, 0.9)]
    result = combine([*rest, Juror("fooled", fooled, 0.03, 0.9)])
    assert [report.overruled for report in result.jurors] == [[], [], [0]]
    assert result.jurors[2].status == "counted"
    assert result.jurors[2].weight > 0.2
    assert result.means[0] == min(result.means)
    assert result.jurors[2].agreement < result.jurors[0].agreement


def test_two_jurors_equally_far_from_the_rest_keep_their_votes() -> None:
    result = combine(
        [
            Juror("low", [0.0, *HONEST[1:]], 0.01, 0.9),
            Juror("middle", [0.5, *HONEST[1:]], 0.01, 0.9),
            Juror("high", [1.0, *HONEST[1:]], 0.01, 0.9),
        ]
    )
    assert all(report.overruled == [] for report in result.jurors)
    assert result.stderr[0] == max(result.stderr)


def test_items_with_equal_scores_are_overruled_together() -> None:
    rest = [Juror("a", [0.3, 0.3, *HONEST], 0.03, 0.9), Juror("b", [0.3, 0.3, *HONEST], 0.03, 0.9)]
    result = combine([*rest, Juror("fooled", [1.0, 1.0, *HONEST], 0.03, 0.9)])
    assert result.jurors[2].overruled in ([], [0, 1])
    assert result.means[0] == result.means[1]
    assert result.stderr[0] == result.stderr[1]


def test_a_juror_fooled_everywhere_is_rejected() -> None:
    # So small that three of eight items are overruled one after the other.
    fooled = [1.0, 1.0, 1.0, *HONEST[3:]]
    rest = [Juror(name, HONEST, 0.004, 1.0) for name in "abcd"]
    result = combine([*rest, Juror("fooled", fooled, 0.004, 1.0)])
    assert result.jurors[4].overruled == [0, 1, 2]
    assert result.jurors[4].status == "rejected"
    assert result.jurors[4].weight == 0
    assert result.means == pytest.approx(HONEST)


def test_the_disagreement_of_two_jurors_widens_their_errors() -> None:
    fooled = [1.0, *HONEST[1:]]
    apart = combine([Juror("a", HONEST, 0.03, 0.9), Juror("b", fooled, 0.03, 0.9)])
    together = combine([Juror("a", HONEST, 0.03, 0.9), Juror("b", HONEST, 0.03, 0.9)])
    assert all(report.overruled == [] for report in apart.jurors)
    assert min(apart.stderr) > max(together.stderr)
    assert apart.stderr[0] == max(apart.stderr)
    assert apart.stderr[0] > 3 * together.stderr[0]


def test_a_noisy_juror_counts_less() -> None:
    result = combine(
        [
            Juror("sure", [0.1, 0.3, 0.5, 0.7, 0.9], 0.02, 0.99),
            Juror("noisy", [0.3, 0.1, 0.6, 0.9, 0.7], 0.2, 0.5),
        ]
    )
    assert result.jurors[0].weight > 0.8


def test_without_errors_the_reliability_gives_the_noise() -> None:
    means = [0.1, 0.3, 0.5, 0.7, 0.9]
    result = combine([Juror("a", means, None, 0.99), Juror("b", means, None, 0.3)])
    assert result.jurors[0].weight > 0.8


def test_errors_may_differ_by_item() -> None:
    means = [0.1, 0.3, 0.5, 0.7, 0.9]
    result = combine([Juror(name, means, [0.1, *[0.01] * 4], 0.9) for name in "ab"])
    assert result.stderr[0] == pytest.approx(0.1 / sqrt(2), rel=0.1)
    assert result.stderr[0] > 5 * result.stderr[1]


@given(juries(), st.randoms(use_true_random=False))
def test_permuting_jurors_and_items_permutes_the_estimate(
    jury: list[Juror], random: Random
) -> None:
    names, items = list(range(len(jury))), list(range(len(jury[0].means)))
    random.shuffle(names)
    random.shuffle(items)
    moved = [
        Juror(jury[j].name, [jury[j].means[i] for i in items], jury[j].stderr, jury[j].reliability)
        for j in names
    ]
    before, after = combine(jury), combine(moved)
    assert after.means == [before.means[i] for i in items]
    assert after.stderr == [before.stderr[i] for i in items]
    assert (after.reliability, after.p_value) == (before.reliability, before.p_value)
    for j, report in zip(names, after.jurors, strict=True):
        reported = before.jurors[j]
        assert (report.name, report.weight, report.status) == (
            reported.name,
            reported.weight,
            reported.status,
        )
        assert sorted(items[i] for i in report.overruled) == reported.overruled


@given(juries())
def test_the_estimate_of_any_jury_is_finite_and_in_range(jury: list[Juror]) -> None:
    result = combine(jury)
    assert all(0 <= mean <= 1 for mean in result.means)
    assert all(0 <= each < 10 for each in result.stderr)
    assert 0 <= result.reliability <= 1
    weights = sum(report.weight for report in result.jurors)
    assert weights == pytest.approx(1) or weights == 0
    assert all(-1 <= report.agreement <= 1.0000001 for report in result.jurors)


def test_a_fooled_juror_lifts_its_attacker_by_under_5_percent() -> None:
    random = np.random.default_rng(2024)
    lifts = []
    for _ in range(300):
        truth = random.normal(size=8)
        rows = [passes(truth, random) for _ in range(3)]
        attacker, victim = int(random.integers(8)), int(random.integers(3))
        fooled = [row.copy() for row in rows]
        fooled[victim][:, attacker] = 1.0
        lifts.append(
            rewards(combine_rows(fooled))[attacker] - rewards(combine_rows(rows))[attacker]
        )
    assert np.mean(lifts) + 2 * np.std(lifts) / sqrt(300) < 0.05


def test_honest_jurors_rank_as_well_as_their_plain_mean() -> None:
    random = np.random.default_rng(2025)
    losses = []
    for _ in range(400):
        truth = random.normal(size=8)
        rows = [passes(truth, random) for _ in range(3)]
        plain = np.mean([row.mean(axis=0) for row in rows], axis=0)
        result = kendalltau(combine_rows(rows).means, truth).statistic
        losses.append(kendalltau(plain, truth).statistic - result)
    assert np.nanmean(losses) < 0.005


def test_jurors_on_other_scales_rank_better_than_a_plain_mean() -> None:
    random = np.random.default_rng(2026)
    gains = []
    for _ in range(300):
        truth = random.normal(size=8)
        rows = [passes(truth, random, scale) for scale in (0.04, 0.12, 0.24)]
        plain = np.mean([row.mean(axis=0) for row in rows], axis=0)
        result = kendalltau(combine_rows(rows).means, truth).statistic
        gains.append(result - kendalltau(plain, truth).statistic)
    assert np.nanmean(gains) > 0.005


def test_equal_items_and_honest_jurors_seldom_give_false_alarms() -> None:
    random = np.random.default_rng(2027)
    result = [combine_rows([passes(np.zeros(8), random) for _ in range(3)]) for _ in range(300)]
    assert np.mean([each.p_value < 0.05 for each in result]) < 0.06
    assert np.mean([any(r.overruled for r in each.jurors) for each in result]) < 0.05


def test_equal_items_earn_a_tenth_of_the_squared_advantage() -> None:
    random = np.random.default_rng(2029)
    squares = [
        np.mean([
            np.var(rewards(combine_rows([passes(truth, random) for _ in range(3)])))
            for truth in random.normal(size=(150, 8)) * spread
        ])
        for spread in (0.0, 1.0)
    ]  # fmt: skip
    assert squares[0] < 0.1 * squares[1]


def test_standard_errors_cover_the_truth() -> None:
    random = np.random.default_rng(2028)
    inside = []
    for _ in range(300):
        truth = random.normal(size=8)
        result = combine_rows([passes(truth, random) for _ in range(3)])
        error = np.array(result.means) - np.mean(result.means) - 0.12 * (truth - truth.mean())
        inside.append(np.mean(np.abs(error) < 1.645 * np.array(result.stderr)))
    assert 0.85 < np.mean(inside) < 0.97


@pytest.mark.parametrize(
    "jury",
    [
        [],
        [Juror("a", [0.1, 0.2], 0.1, 1.0), Juror("a", [0.1, 0.2], 0.1, 1.0)],
        [Juror("a", [0.1, 0.2], 0.1, 1.0), Juror("b", [0.1], 0.1, 1.0)],
        [Juror("a", [0.1], 0.1, 1.0)],
    ],
)
def test_an_invalid_jury_is_an_error(jury: list[Juror]) -> None:
    with pytest.raises(ValueError, match=r"a jury needs|jurors must"):
        combine(jury)
