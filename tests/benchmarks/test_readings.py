"""Paid calls are read in several ways; what each way may see, and what it makes of it."""

from collections.abc import Mapping

import pytest

from benchmarks.readings import EQUAL_TOKENS, WAYS, Answer, read
from podium_service.prompts.verdict import Verdict

TRUTH = [3.0, 2.0, 1.0, 0.0]
PAIRS = [(i, j) for i in range(4) for j in range(4) if i != j]


def choices(wins: Mapping[tuple[int, int], float], *, said: bool = True) -> list[Answer]:
    """Every pair in both orders: the probability that the one in slot 1 is better."""
    return [
        Answer(4 * i + j, Verdict([i, j], ["X", "Y"], [p, 1 - p], ["", ""]), 1, 700, said)
        for (i, j), p in wins.items()
    ]


def biased(*, gap: float) -> list[Answer]:
    """A judge that always prefers slot 1, less so when the better one stands in slot 2."""
    return choices({(i, j): 0.8 + gap * (TRUTH[i] - TRUTH[j]) for i, j in PAIRS})


def test_a_judge_that_always_names_slot_1_is_right_half_the_time() -> None:
    found = read(WAYS["pairwise named, one order"], biased(gap=0.02), TRUTH)
    assert found
    assert found.right / found.compared == pytest.approx(0.5)
    assert (found.calls, found.tokens, found.compared) == (6, 4200, 6)


def test_named_letters_of_both_orders_tie_everything() -> None:
    found = read(WAYS["pairwise named, both orders"], biased(gap=0.02), TRUTH)
    assert found
    assert (found.auc, found.tau_b, found.right) == (0.5, 0.0, 3.0)


def test_probabilities_averaged_over_both_orders_are_right() -> None:
    found = read(WAYS["pairwise probabilities, both orders"], biased(gap=0.02), TRUTH)
    assert found
    assert (found.auc, found.tau_b) == (1.0, 1.0)
    assert (found.right, found.compared, found.calls) == (6, 6, 12)


def test_replies_whose_text_names_nothing_are_counted() -> None:
    vague = choices({(i, j): float(i < j) for i, j in PAIRS}, said=False)
    found = read(WAYS["pairwise named, both orders"], vague, TRUTH)
    assert found
    assert (found.auc, found.unsaid, found.replies) == (1.0, 12, 12)


def test_pairs_of_equal_truth_are_not_compared() -> None:
    found = read(WAYS["pairwise probabilities, both orders"], biased(gap=0.02), [1, 1, 0, 0])
    assert found
    assert found.compared == 4


def test_readings_at_equal_tokens_make_equally_many_calls() -> None:
    names = [name for name in EQUAL_TOKENS if name.startswith("pairwise")]
    found = [read(WAYS[name], biased(gap=0.02), TRUTH) for name in names]
    assert len(names) == 4
    assert {each.calls for each in found if each} == {6}


def test_one_listwise_call_is_the_mean_over_the_calls_made() -> None:
    right, wrong = [0.9, 0.8, 0.7, 0.6], [0.6, 0.7, 0.8, 0.9]
    passes = [
        Answer(n, Verdict([0, 1, 2, 3], list("abcd"), scores, [""] * 4), 1, 900, said=True)
        for n, scores in enumerate([right, right, right, wrong])
    ]
    one, four = (
        read(WAYS["listwise, 1 call"], passes, TRUTH),
        read(WAYS["listwise, 4 calls"], passes, TRUTH),
    )
    assert one
    assert (one.auc, one.calls, one.compared) == (0.75, 1, 0)
    assert four
    assert (four.auc, four.calls) == (1.0, 4)


def test_the_first_round_of_ratings_holds_each_trajectory_once() -> None:
    ratings = [
        Answer(n, Verdict([n % 4], ["a"], [TRUTH[n % 4] / 3], [""]), 1, 500, said=False)
        for n in range(8)
    ]
    found = read(WAYS["pointwise, 1 round"], ratings, TRUTH)
    assert found
    assert (found.auc, found.calls) == (1.0, 4)


def test_a_group_that_was_not_ranked_has_no_reading() -> None:
    assert read(WAYS["listwise, 4 calls"], [], TRUTH) is None


def test_a_group_without_a_difference_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="equally good"):
        read(WAYS["listwise, 4 calls"], biased(gap=0.0), [1.0] * 4)
