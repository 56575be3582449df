from typing import Any

import numpy as np
import pytest

from benchmarks.judges.fit import cell_probabilities, fit_counts, fit_rows, fitted, tie_rates


def simulated_counts(noise: float, bias: float, mean_gap: float, pairs: int) -> Any:
    """Draw pairs one by one, not from the formula under test."""
    rng = np.random.default_rng(3)
    gaps = mean_gap + rng.standard_normal(pairs)
    first = gaps + bias + noise * rng.standard_normal(pairs) > 0
    second = gaps - bias + noise * rng.standard_normal(pairs) > 0
    counts_22 = np.zeros((2, 2))
    np.add.at(counts_22, (first.astype(int), second.astype(int)), 1)
    return counts_22


@pytest.mark.parametrize(
    ("noise", "bias", "mean_gap"), [(0.5, 0.2, 0.8), (1.2, 0.7, 0.1), (0.8, -0.4, -0.3)]
)
def test_a_fit_recovers_the_judge_that_the_counts_came_from(
    noise: float, bias: float, mean_gap: float
) -> None:
    found = fit_counts(simulated_counts(noise, bias, mean_gap, pairs=200_000))
    assert found == pytest.approx((noise, bias, mean_gap), abs=0.03)


def test_expected_counts_sum_to_one_and_mirror_with_the_bias() -> None:
    cells_22 = cell_probabilities(0.7, 0.4, 0.5)
    assert cells_22.sum() == pytest.approx(1)
    assert pytest.approx(cell_probabilities(0.7, -0.4, 0.5)) == cells_22.T


def test_empty_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="no counts"):
        fit_counts(np.zeros((2, 2)))


def recorded(method: str, label: str, winner_12: str, winner_21: str) -> dict[str, str]:
    row = {"subset": "s", "idx": "0", "judge": "J", "method": method, "label": label}
    return {**row, "winner_order12": winner_12, "winner_order21": winner_21}


def test_winners_are_outputs_and_a_slot_1_bias_is_positive() -> None:
    rows = [recorded("Vanilla", "1", "1", "2"), recorded("Vanilla", "2", "1", "2")] * 5
    rows += [recorded("Vanilla", "1", "1", "1"), recorded("Vanilla", "2", "2", "2")] * 5
    rows += [recorded("Vanilla", "1", "None", "1")]
    (found,) = fit_rows(rows, {})
    assert (found.pairs, found.accuracy, found.flip_rate) == (20, 0.75, 0.5)
    assert found.slot_1_rate == 0.75
    assert found.slot_bias > 0.1
    assert found.malformed_rate == pytest.approx(1 / 42)


def test_only_pointwise_rows_give_ties() -> None:
    rows = [recorded("Rating", "1", "2", "1")] + [recorded("Rating", "1", "1", "1")] * 3
    assert tie_rates(rows) == {"J": 0.25}
    assert list(fit_rows(rows, {})) == []


def test_two_fits_are_kept_for_each_of_six_judges() -> None:
    kept = fitted()
    assert len(kept) == 12
    assert len({name.partition("/")[0] for name in kept}) == 6
    assert kept["GPT-4/best"].noise_sd < kept["Falcon/median"].noise_sd
