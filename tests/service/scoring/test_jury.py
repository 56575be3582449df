"""Jurors' estimates -> one, against numbers by hand and against simulated juries."""

from math import sqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import kendalltau

from podium_service.scoring.jury import Juror, JuryEstimate, combine

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
    """Four noisy passes of one juror, shape (4, N), on a grid in [0, 1]."""
    noisy = 0.5 + scale * (truth + random.normal(size=(4, len(truth))))
    return np.clip(np.round(noisy / 0.05) * 0.05, 0, 1)


def juror(name: str, given: Floats) -> Juror:
    """What a two-way layout says of one juror's passes."""
    means = given.mean(axis=0)
    residuals = given - given.mean(axis=1, keepdims=True) - means + given.mean()
    error = float((residuals**2).sum()) / ((len(given) - 1) * (len(means) - 1))
    between = len(given) * float(means.var(ddof=1))
    reliability = max(0.0, 1 - error / between) if between > 1e-12 else 0.0
    return Juror(name, means.tolist(), sqrt(error / len(given)), reliability)


def rewards(estimate: JuryEstimate) -> Floats:
    """Win probabilities as the service gives them."""
    means, stderr = np.array(estimate.means), np.array(estimate.stderr)
    if not estimate.is_significant:
        return np.full(len(means), 0.5)
    errors = np.sqrt(stderr[:, None] ** 2 + stderr[None, :] ** 2)
    gaps = means[:, None] - means[None, :]
    wins = ndtr(sqrt(estimate.reliability) * gaps / np.maximum(errors, 1e-12))
    np.fill_diagonal(wins, 0.0)
    return np.asarray(wins.sum(axis=1) / (len(means) - 1))


def sit(rows: list[Floats]) -> JuryEstimate:
    return combine([juror(f"juror {k}", row) for k, row in enumerate(rows)])


def test_equal_jurors_are_averaged_by_hand() -> None:
    # Same spread and noise, so weights 1/2; residuals +-.05 on two items, 0 on two.
    found = combine(
        [
            Juror("a", [0.2, 0.4, 0.6, 0.8], 0.05, 0.9),
            Juror("b", [0.3, 0.3, 0.7, 0.7], 0.05, 0.9),
        ]
    )
    assert found.means == pytest.approx([0.25, 0.35, 0.65, 0.75], abs=0.02)
    assert [report.weight for report in found.jurors] == [0.5, 0.5]
    # Six pairs; b ties two of them and agrees on four: tau_b = 4 / sqrt(6 * 4).
    assert found.jurors[0].agreement == pytest.approx(4 / sqrt(24))
    assert found.is_significant


def test_jurors_that_agree_to_the_last_digit_are_certain() -> None:
    found = combine([Juror(name, [0.0, 0.5, 1.0], 0.0, 1.0) for name in "abc"])
    assert found.means == [0.0, 0.5, 1.0]
    assert found.stderr == [0.0, 0.0, 0.0]
    assert found.reliability == 1
    assert found.is_significant


def test_a_jurors_own_scale_does_not_matter() -> None:
    means = [0.1, 0.3, 0.4, 0.8, 0.9]
    narrow = Juror("narrow", [0.5 + mean / 10 for mean in means], 0.003, 0.95)
    found = combine([Juror("wide", means, 0.03, 0.95), narrow])
    assert [report.weight for report in found.jurors] == pytest.approx([0.5, 0.5], abs=0.05)
    gaps = np.diff(found.means) / np.diff(means)
    assert gaps == pytest.approx([gaps[0]] * 4)


def test_one_juror_alone_is_taken_at_its_word() -> None:
    found = combine([Juror("a", [0.2, 0.5, 0.8], 0.05, 0.9)])
    assert found.means == pytest.approx([0.2, 0.5, 0.8])
    assert found.stderr == pytest.approx([0.05] * 3)
    assert found.jurors[0].weight == 1
    assert found.jurors[0].agreement == 0


def test_jurors_that_tie_everything_give_no_signal() -> None:
    found = combine([Juror(name, [0.4, 0.4, 0.4], 0.0, 0.0) for name in "abc"])
    assert found.means == [0.4] * 3
    assert not found.is_significant
    assert found.reliability == 0


def test_a_juror_that_ties_everything_has_no_weight() -> None:
    heard = [Juror(name, [0.2, 0.5, 0.8], 0.05, 0.9) for name in "ab"]
    found = combine([*heard, Juror("c", [0.5, 0.5, 0.5], 0.0, 0.0)])
    assert [report.weight for report in found.jurors] == [0.5, 0.5, 0]
    assert found.jurors[2].status == "counted"


HONEST = [0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8]


def test_a_fooled_juror_loses_its_say_on_that_item_only() -> None:
    fooled = [1.0, *HONEST[1:]]
    rest = [Juror("a", HONEST, 0.03, 0.9), Juror("b", HONEST, 0.03, 0.9)]
    found = combine([*rest, Juror("fooled", fooled, 0.03, 0.9)])
    assert [report.overruled for report in found.jurors] == [[], [], [0]]
    assert found.jurors[2].status == "counted"
    assert found.jurors[2].weight > 0.2
    assert found.means[0] == min(found.means)
    assert found.jurors[2].agreement < found.jurors[0].agreement


def test_of_two_jurors_equally_far_apart_neither_is_overruled() -> None:
    found = combine(
        [
            Juror("low", [0.0, *HONEST[1:]], 0.01, 0.9),
            Juror("middle", [0.5, *HONEST[1:]], 0.01, 0.9),
            Juror("high", [1.0, *HONEST[1:]], 0.01, 0.9),
        ]
    )
    assert all(report.overruled == [] for report in found.jurors)
    assert found.stderr[0] == max(found.stderr)


def test_items_that_all_jurors_score_alike_are_treated_alike() -> None:
    rest = [Juror("a", [0.3, 0.3, *HONEST], 0.03, 0.9), Juror("b", [0.3, 0.3, *HONEST], 0.03, 0.9)]
    found = combine([*rest, Juror("fooled", [1.0, 1.0, *HONEST], 0.03, 0.9)])
    assert found.jurors[2].overruled in ([], [0, 1])
    assert found.means[0] == found.means[1]
    assert found.stderr[0] == found.stderr[1]


def test_a_juror_fooled_everywhere_is_rejected() -> None:
    # So small that three of eight items are overruled one after the other.
    fooled = [1.0, 1.0, 1.0, *HONEST[3:]]
    rest = [Juror(name, HONEST, 0.004, 1.0) for name in "abcd"]
    found = combine([*rest, Juror("fooled", fooled, 0.004, 1.0)])
    assert found.jurors[4].overruled == [0, 1, 2]
    assert found.jurors[4].status == "rejected"
    assert found.jurors[4].weight == 0
    assert found.means == pytest.approx(HONEST)


def test_the_disagreement_of_two_jurors_widens_their_errors() -> None:
    fooled = [1.0, *HONEST[1:]]
    apart = combine([Juror("a", HONEST, 0.03, 0.9), Juror("b", fooled, 0.03, 0.9)])
    together = combine([Juror("a", HONEST, 0.03, 0.9), Juror("b", HONEST, 0.03, 0.9)])
    assert all(report.overruled == [] for report in apart.jurors)
    assert min(apart.stderr) > max(together.stderr)
    assert apart.stderr[0] == max(apart.stderr)
    assert apart.stderr[0] > 3 * together.stderr[0]


def test_a_noisy_juror_counts_less() -> None:
    found = combine(
        [
            Juror("sure", [0.1, 0.3, 0.5, 0.7, 0.9], 0.02, 0.99),
            Juror("noisy", [0.3, 0.1, 0.6, 0.9, 0.7], 0.2, 0.5),
        ]
    )
    assert found.jurors[0].weight > 0.8


def test_without_errors_trust_tells_the_noise() -> None:
    means = [0.1, 0.3, 0.5, 0.7, 0.9]
    found = combine([Juror("a", means, None, 0.99), Juror("b", means, None, 0.3)])
    assert found.jurors[0].weight > 0.8


def test_errors_may_differ_by_item() -> None:
    means = [0.1, 0.3, 0.5, 0.7, 0.9]
    found = combine([Juror(name, means, [0.1, *[0.01] * 4], 0.9) for name in "ab"])
    assert found.stderr[0] == pytest.approx(0.1 / sqrt(2), rel=0.1)
    assert found.stderr[0] > 5 * found.stderr[1]


@given(juries(), st.randoms(use_true_random=False))
def test_permuting_jurors_and_items_changes_nothing(jury: list[Juror], random: Random) -> None:
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
    assert (after.reliability, after.is_significant) == (before.reliability, before.is_significant)
    for j, report in zip(names, after.jurors, strict=True):
        said = before.jurors[j]
        assert (report.name, report.weight, report.status) == (said.name, said.weight, said.status)
        assert sorted(items[i] for i in report.overruled) == said.overruled


@given(juries())
def test_whatever_jurors_say_the_estimate_is_finite_and_in_range(jury: list[Juror]) -> None:
    found = combine(jury)
    assert all(0 <= mean <= 1 for mean in found.means)
    assert all(0 <= each < 10 for each in found.stderr)
    assert 0 <= found.reliability <= 1
    weights = sum(report.weight for report in found.jurors)
    assert weights == pytest.approx(1) or weights == 0
    assert all(-1 <= report.agreement <= 1.0000001 for report in found.jurors)


def test_a_fooled_juror_lifts_the_attackers_reward_by_less_than_a_twentieth() -> None:
    random = np.random.default_rng(2024)
    lifts = []
    for _ in range(300):
        truth = random.normal(size=8)
        rows = [passes(truth, random) for _ in range(3)]
        attacker, victim = int(random.integers(8)), int(random.integers(3))
        fooled = [row.copy() for row in rows]
        fooled[victim][:, attacker] = 1.0
        lifts.append(rewards(sit(fooled))[attacker] - rewards(sit(rows))[attacker])
    assert np.mean(lifts) + 2 * np.std(lifts) / sqrt(300) < 0.05


def test_honest_jurors_are_ranked_as_well_as_by_their_plain_mean() -> None:
    random = np.random.default_rng(2025)
    losses = []
    for _ in range(400):
        truth = random.normal(size=8)
        rows = [passes(truth, random) for _ in range(3)]
        plain = np.mean([row.mean(axis=0) for row in rows], axis=0)
        found = kendalltau(sit(rows).means, truth).statistic
        losses.append(kendalltau(plain, truth).statistic - found)
    assert np.nanmean(losses) < 0.005


def test_jurors_on_other_scales_are_ranked_better_than_by_their_plain_mean() -> None:
    random = np.random.default_rng(2026)
    gains = []
    for _ in range(300):
        truth = random.normal(size=8)
        rows = [passes(truth, random, scale) for scale in (0.04, 0.12, 0.24)]
        plain = np.mean([row.mean(axis=0) for row in rows], axis=0)
        found = kendalltau(sit(rows).means, truth).statistic
        gains.append(found - kendalltau(plain, truth).statistic)
    assert np.nanmean(gains) > 0.005


def test_equal_items_seldom_look_different_and_honest_jurors_are_seldom_overruled() -> None:
    random = np.random.default_rng(2027)
    found = [sit([passes(np.zeros(8), random) for _ in range(3)]) for _ in range(300)]
    assert np.mean([each.is_significant for each in found]) < 0.06
    assert np.mean([any(r.overruled for r in each.jurors) for each in found]) < 0.05


def test_standard_errors_hold() -> None:
    random = np.random.default_rng(2028)
    inside = []
    for _ in range(300):
        truth = random.normal(size=8)
        found = sit([passes(truth, random) for _ in range(3)])
        error = np.array(found.means) - np.mean(found.means) - 0.12 * (truth - truth.mean())
        inside.append(np.mean(np.abs(error) < 1.645 * np.array(found.stderr)))
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
def test_a_jury_that_cannot_be_is_refused(jury: list[Juror]) -> None:
    with pytest.raises(ValueError, match=r"a jury needs|jurors must"):
        combine(jury)
