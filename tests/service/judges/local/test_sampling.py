"""From logits to tokens."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.judges.local.generation.sampling import (
    Sampling,
    choose,
    log_softmax,
    most_likely,
)

GREEDY = Sampling(temperature=0)
HALF_QUARTERS = np.log(np.array([0.25, 0.5, 0.25]))


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.lists(st.floats(-500, 500, width=32), min_size=1, max_size=50))
def test_probabilities_sum_to_one(logits: list[float]) -> None:
    probabilities = np.exp(log_softmax(np.array(logits, dtype=np.float32)))
    assert probabilities.sum() == pytest.approx(1)


def test_log_softmax_of_worked_out_logits() -> None:
    logits = np.array([0, log(2), log(5)], dtype=np.float32)
    assert np.exp(log_softmax(logits)) == pytest.approx([1 / 8, 2 / 8, 5 / 8])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_an_error(bad: float) -> None:
    with pytest.raises(RuntimeError, match="may be damaged"):
        log_softmax(np.array([0, bad], dtype=np.float32))


def test_the_likeliest_tokens_come_first_and_ties_in_order() -> None:
    logprobs = np.log(np.array([0.2, 0.1, 0.2, 0.5]))
    assert most_likely(logprobs, 3) == [3, 0, 2]
    assert most_likely(logprobs, 0) == []
    assert most_likely(logprobs, 9) == [3, 0, 2, 1]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert {choose(HALF_QUARTERS, GREEDY, random(seed)) for seed in range(20)} == {1}


def test_the_shares_of_drawn_tokens_are_their_probabilities() -> None:
    source = random()
    drawn = [choose(HALF_QUARTERS, Sampling(), source) for _ in range(4000)]
    assert np.bincount(drawn) / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_half_the_temperature_squares_probabilities() -> None:
    source = random()
    drawn = [choose(HALF_QUARTERS, Sampling(temperature=0.5), source) for _ in range(4000)]
    assert np.bincount(drawn) / 4000 == pytest.approx([1 / 6, 4 / 6, 1 / 6], abs=0.03)


def test_top_p_draws_among_the_fewest_likeliest_tokens() -> None:
    source = random()
    drawn = {choose(HALF_QUARTERS, Sampling(top_p=0.6), source) for _ in range(200)}
    assert drawn == {0, 1}


def test_a_token_without_probability_is_never_drawn() -> None:
    logprobs = np.array([log(1 - exp(-700)), -np.inf, -np.inf])
    assert {choose(logprobs, Sampling(), random(seed)) for seed in range(50)} == {0}
