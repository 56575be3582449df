"""Measures of one judged group, against counts by hand and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from podium_service.evaluation.bias import slot_bias
from podium_service.evaluation.measures import (
    JudgedGroup,
    Pass,
    all_passes_agreement,
    combine_passes,
    one_pass_agreement,
    order_flips,
    retest_tau,
    reward_agreement,
    tie_rate,
)
from podium_service.scoring.agreement import agreement, kendall_tau_b
from podium_service.scoring.bootstrap import Bootstrap
from tests.service.evaluation.helpers import judged_group


def test_agreement_equals_a_count_by_hand() -> None:
    # Pairs whose truth differs: 0>1 right, 0>3 right, 2>3 right, 1<2 tied. One pair of six ties.
    result = agreement([0.9, 0.5, 0.5, 0.1], [1, 0, 1, 0])
    assert result is not None
    assert result.accuracy == 3 / 4
    assert result.auc == 3.5 / 4
    assert result.tau_b == pytest.approx(3 / np.sqrt(4 * 5))
    assert result.top1 == 1


def test_agreement_of_a_tie_is_chance_and_of_equal_labels_none() -> None:
    tied = agreement([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0])
    assert tied is not None
    assert (tied.accuracy, tied.auc, tied.tau_b, tied.top1) == (0, 0.5, 0, 0.25)
    assert agreement([0.1, 0.9], [1, 1]) is None


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=8).filter(
        lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
    )
)
def test_tau_b_equals_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = (list(map(float, side)) for side in zip(*pairs, strict=True))
    assert kendall_tau_b(first, second) == pytest.approx(kendalltau(first, second).statistic)


def test_one_pass_all_passes_and_rewards_are_compared_apart() -> None:
    judged = judged_group(
        [1, 0], Pass([0, 1], [0.9, 0.2]), Pass([1, 0], [0.6, 0.5]), rewards=[0.5, 0.5]
    )
    single, combined, returned = (
        measure(judged) for measure in (one_pass_agreement, all_passes_agreement, reward_agreement)
    )
    assert single is not None
    assert combined is not None
    assert returned is not None
    assert single.accuracy == 0.5  # right, then wrong
    assert combined.accuracy == 1  # means .7 and .4
    assert (returned.accuracy, returned.auc) == (0, 0.5)  # shrunk to a tie


def test_subsets_and_single_items_give_the_measures_they_can() -> None:
    pairs = [Pass([0, 1], [1, 0]), Pass([1, 2], [1, 0]), Pass([2, 1], [0.25, 0.75])]
    chained = judged_group([2, 1, 0], *pairs)
    result = one_pass_agreement(chained)
    assert result is not None
    assert (result.accuracy, result.top1) == (1, None)
    assert all_passes_agreement(chained) == agreement([2, 1, 0], [2, 1, 0])
    assert combine_passes(pairs[1:], 3) is None  # no pass compares item 0
    assert combine_passes(pairs[:1], 3) is None
    singles = [Pass([0], [0.9]), Pass([1], [0.4]), Pass([0], [0.7])]
    assert combine_passes(singles, 2) == pytest.approx([0.8, 0.4])
    pointwise = judged_group([1, 0], *singles)
    assert one_pass_agreement(pointwise) is None
    assert order_flips(pointwise) is None
    assert tie_rate(pointwise) is None
    assert slot_bias([pointwise], Bootstrap(1)) == (
        [],
        "no trajectory was shown in two different slots",
    )


def test_complete_passes_combine_to_their_centred_means() -> None:
    passes = [Pass([0, 1, 2], [0.9, 0.5, 0.1]), Pass([2, 0, 1], [0.3, 0.7, 0.8])]
    assert combine_passes(passes, 3) == pytest.approx([0.25, 0.1, -0.35])  # .8, .65, .2 less .55


def test_gated_trajectories_rank_below_all_scores() -> None:
    judged = JudgedGroup([1, 0, 0], [0.9, 0.1, -1], [5, 5], [Pass([0, 1], [0.9, 0.8])])
    result = one_pass_agreement(judged)
    assert result is not None
    assert result.accuracy == 1
    assert all_passes_agreement(judged) == result


def test_order_flips_are_pairs_that_differ_in_the_reverse_order() -> None:
    order = Pass([0, 1, 2], [0.9, 0.5, 0.1])
    assert order_flips(judged_group([0, 0, 1], order, Pass([2, 1, 0], [0.6, 0.5, 0.4]))) == 1
    assert order_flips(judged_group([0, 0, 1], order, Pass([2, 1, 0], [0.1, 0.95, 0.9]))) == 1 / 3
    assert order_flips(judged_group([0, 0, 1], order, Pass([1, 0, 2], [0.6, 0.5, 0.4]))) is None
    other_juror = Pass([2, 1, 0], [0.6, 0.5, 0.4], source="another juror")
    assert order_flips(judged_group([0, 0, 1], order, other_juror)) is None


def test_retest_halves_keep_an_order_and_its_reverse_together() -> None:
    up, down = [0.1, 0.5, 0.9], [0.9, 0.5, 0.1]
    first = [Pass([0, 1, 2], up), Pass([2, 1, 0], down)]
    again = [Pass([1, 0, 2], [0.5, 0.1, 0.9]), Pass([2, 0, 1], [0.9, 0.1, 0.5])]
    assert retest_tau(judged_group([0, 0, 1], *first, *again)) == 1
    assert retest_tau(judged_group([0, 0, 1], Pass([0, 1, 2], up), Pass([0, 1, 2], down))) == -1
    assert retest_tau(judged_group([0, 0, 1], Pass([0, 1, 2], up))) is None


def test_tie_rate_counts_pairs_within_a_pass() -> None:
    assert tie_rate(judged_group([0, 0, 1], Pass([0, 1, 2], [0.5, 0.5, 0.1]))) == 1 / 3
