"""Every loss against numbers worked out by hand in float64, and against finite differences."""

from math import exp, inf, log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from podium_trainer.update.loss import (
    LOSSES,
    KlEstimator,
    LossInputs,
    LossOutputs,
    cispo,
    k3,
    kl_penalty,
    ppo_clip,
    reinforce,
    rft,
    sequence_means,
    sequence_ratio,
    token_weights,
)

KL: list[KlEstimator] = ["k1", "k2", "k3"]


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def inputs(
    policy_N: Tensor,
    behavior_N: Tensor,
    advantages_N: Tensor,
    sequence: list[int] | None = None,
    **changes: Any,
) -> LossInputs:
    sequence_N = torch.tensor(sequence if sequence is not None else [0] * len(policy_N))
    bounds = {"clip_low": 0.2, "clip_high": 0.28, "ratio_cap": 3.0} | changes
    num = int(sequence_N.max()) + 1
    return LossInputs(policy_N, behavior_N, advantages_N, sequence_N, num, **bounds)


def at_ratio(
    loss: Any, ratio: float, advantage: float, **changes: Any
) -> tuple[float, float, bool]:
    """Loss, gradient by the logprob and the clip flag of one token with log p = -1."""
    policy_N = f64(-1).requires_grad_()
    outputs: LossOutputs = loss(inputs(policy_N, f64(-1 - log(ratio)), f64(advantage), **changes))
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    return float(outputs.loss_N.detach()), float(gradient_N), bool(outputs.clipped_N)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.0, 1.0, -1.0, -1.0, False),
        (1.1, 2.0, -2.2, -2.2, False),
        (1.27, 1.0, -1.27, -1.27, False),
        (1.29, 1.0, -1.28, 0.0, True),  # above 1 + .28, and better: no more push
        (2.5, 2.0, -2.56, 0.0, True),
        (0.5, 1.0, -0.5, -0.5, False),  # below, and better: may come back
        (1.0, -1.0, 1.0, 1.0, False),
        (0.9, -2.0, 1.8, 1.8, False),
        (0.79, -1.0, 0.8, 0.0, True),  # below 1 - .2, and worse: no more push
        (0.1, -2.0, 1.6, 0.0, True),
        (1.5, -1.0, 1.5, 1.5, False),  # above, and worse: pushed back, with its whole ratio
        (2.9, -1.0, 2.9, 2.9, False),
        (8.0, -1.0, 3.0, 0.0, True),  # but not beyond ratio_cap
        (8.0, 1.0, -1.28, 0.0, True),
        (1.5, 0.0, 0.0, 0.0, False),
    ],
)
def test_the_clipped_surrogate_by_hand(
    ratio: float, advantage: float, loss: float, gradient: float, clipped: bool
) -> None:
    assert at_ratio(ppo_clip, ratio, advantage) == pytest.approx((loss, gradient, clipped))


def test_the_clip_bounds_are_their_own_on_each_side() -> None:
    bounds = {"clip_low": 0.1, "clip_high": 0.5}
    assert at_ratio(ppo_clip, 1.4, 1.0, **bounds) == pytest.approx((-1.4, -1.4, False))
    assert at_ratio(ppo_clip, 1.6, 1.0, **bounds) == pytest.approx((-1.5, 0, True))
    assert at_ratio(ppo_clip, 0.85, -1.0, **bounds) == pytest.approx((0.9, 0, True))


def test_gspo_takes_each_sequences_geometric_mean_ratio() -> None:
    # Sequence 0: ratios 2 and 1/2, geometric mean 1. Sequence 1: ratio 1.1. Sequence 2: 1 and .81,
    # geometric mean .9.
    ratios = f64(2, 0.5, 1.1, 1, 0.81)
    policy_N = f64(-1, -2, -3, -1, -1).requires_grad_()
    advantages_N = f64(1, 1, 2, -1, -1)
    behavior_N = policy_N.detach() - ratios.log()
    outputs = sequence_ratio(inputs(policy_N, behavior_N, advantages_N, [0, 0, 1, 2, 2]))
    assert outputs.loss_N.tolist() == pytest.approx([-1, -1, -2.2, 0.9, 0.9])
    assert not outputs.clipped_N.any()
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    # d s / d log p_t = s / |y|, and each of the |y| tokens carries -s A.
    assert gradient_N.tolist() == pytest.approx([-1, -1, -2.2, 0.9, 0.9])


def test_gspo_clips_whole_sequences_at_bounds_of_their_own() -> None:
    loss = LOSSES["gspo"]
    policy_N = f64(-1, -1, -1, -1).requires_grad_()
    log_ratios = f64(0.0010, 0, 0.0006, 0)  # means .0005 and .0003 against ln 1.0004
    outputs = loss.function(
        inputs(policy_N, policy_N.detach() - log_ratios, f64(1, 1, 1, 1), [0, 0, 1, 1],
               clip_low=loss.clip_low, clip_high=loss.clip_high)
    )  # fmt: skip
    assert outputs.loss_N.tolist() == pytest.approx([-1.0004] * 2 + [-exp(0.0003)] * 2, abs=1e-9)
    assert outputs.clipped_N.tolist() == [True, True, False, False]
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert gradient_N.tolist() == pytest.approx([0, 0, -exp(0.0003), -exp(0.0003)])


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight", "clipped"),
    [
        (1.0, 2.0, 1.0, False),
        (1.5, 1.0, 1.5, False),
        (2.5, 1.0, 2.0, True),  # clipped, and still pushing with the clipped weight
        (2.5, -1.0, 2.0, True),
        (0.01, -3.0, 0.01, False),  # the published lower bound is none
    ],
)
def test_cispo_weighs_each_token_and_drops_none(
    ratio: float, advantage: float, weight: float, clipped: bool
) -> None:
    loss = LOSSES["cispo"]
    got = at_ratio(
        loss.function, ratio, advantage, clip_low=loss.clip_low, clip_high=loss.clip_high
    )
    # log p = -1: the loss is -w A (-1), its gradient -w A, as the weight is a constant.
    assert got == pytest.approx((weight * advantage, -weight * advantage, clipped))


def test_cispo_with_a_lower_bound_raises_small_weights() -> None:
    assert at_ratio(cispo, 0.5, 1.0, clip_low=0.2) == pytest.approx((0.8, -0.8, True))


@given(st.floats(-5, -0.01), st.floats(-2, 2))
@settings(deadline=None)
def test_on_policy_reinforce_is_the_reinforce_gradient(logprob: float, advantage: float) -> None:
    policy_N = f64(logprob).requires_grad_()
    outputs = reinforce(inputs(policy_N, f64(logprob), f64(advantage)))
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert float(gradient_N) == pytest.approx(-advantage)


@pytest.mark.parametrize("ratio", [0.2, 0.9, 1.7, 2.9])
def test_off_policy_reinforce_is_weighted_by_the_ratio(ratio: float) -> None:
    assert at_ratio(reinforce, ratio, -2.0) == pytest.approx((-2 * ratio, 2 * ratio, False))


def test_reinforce_truncates_weights_at_ratio_cap() -> None:
    assert at_ratio(reinforce, 3.5, 2.0) == pytest.approx((6, -6, True))
    assert at_ratio(reinforce, 3.5, 2.0, ratio_cap=1.0) == pytest.approx((2, -2, True))


@given(st.floats(-5, -0.01), st.floats(0.01, 20), st.floats(-2, 2))
@settings(deadline=None)
def test_rft_never_pushes_down_and_never_looks_at_the_ratio(
    logprob: float, ratio: float, advantage: float
) -> None:
    policy_N = f64(logprob).requires_grad_()
    outputs = rft(inputs(policy_N, f64(logprob - log(ratio)), f64(advantage)))
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert float(gradient_N) == pytest.approx(-max(advantage, 0))
    assert not outputs.clipped_N.any()


@pytest.mark.parametrize("name", LOSSES)
def test_equal_rewards_leave_no_gradient(name: str) -> None:
    policy_N = f64(-1, -2, -0.5).requires_grad_()
    outputs = LOSSES[name].function(
        inputs(policy_N, f64(-1.5, -0.2, -0.5), torch.zeros(3).double(), [0, 0, 1])
    )
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert gradient_N.tolist() == [0, 0, 0]
    assert outputs.loss_N.tolist() == [0, 0, 0]
    assert outputs.clipped_N.dtype == torch.bool


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo"])
def test_surrogate_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    behavior_N, advantages_N = f64(-1, -2, -3, -1, -2), f64(1, 1, -1, -1, 0.5)
    policy_N = (behavior_N + 0.3 * torch.randn(5).double()).requires_grad_()

    def losses(policy_N: Tensor) -> Tensor:
        every = inputs(policy_N, behavior_N, advantages_N, [0, 0, 1, 1, 2], clip_high=0.1)
        return LOSSES[name].function(every).loss_N

    assert torch.autograd.gradcheck(losses, policy_N)


@pytest.mark.parametrize("name", ["cispo", "reinforce", "rft"])
def test_weighted_log_likelihood_gradients_are_those_of_finite_differences(name: str) -> None:
    """With the ratio, a constant to these losses, held constant under the differences, too."""
    torch.manual_seed(0)
    log_ratio_N, advantages_N = torch.randn(5).double(), f64(1, 1, -1, -1, 0.5)
    policy_N = f64(-1, -2, -3, -1, -2).requires_grad_()

    def losses(policy_N: Tensor) -> Tensor:
        behavior_N = policy_N.detach() - log_ratio_N
        return LOSSES[name].function(inputs(policy_N, behavior_N, advantages_N)).loss_N

    assert torch.autograd.gradcheck(losses, policy_N)


def test_every_loss_has_a_test_of_its_gradient_and_the_denominator_of_its_paper() -> None:
    assert {name: loss.denominator for name, loss in LOSSES.items()} == {
        "grpo": "sequences",
        "dr_grpo": "sequences_x_max_tokens",
        "dapo": "tokens",
        "gspo": "sequences",
        "cispo": "tokens",
        "reinforce": "tokens",
        "rft": "tokens",
    }
    assert {loss.function for loss in LOSSES.values()} == {
        ppo_clip, sequence_ratio, cispo, reinforce, rft,
    }  # fmt: skip


# KL


def test_kl_estimators_by_hand() -> None:
    policy_N, ref_N = f64(log(0.5), log(0.2)).requires_grad_(), f64(log(0.25), log(0.4))
    d = log(2)  # and -log(2)
    assert kl_penalty(policy_N, ref_N, "k1").tolist() == pytest.approx(
        [d * log(0.5), -d * log(0.2)]
    )
    assert kl_penalty(policy_N, ref_N, "k2").tolist() == pytest.approx([d * d / 2] * 2)
    assert kl_penalty(policy_N, ref_N, "k3").tolist() == pytest.approx([0.5 - 1 + d, 2 - 1 - d])
    for estimator, slopes in zip(KL, [[d, -d], [d, -d], [0.5, -1.0]], strict=True):
        penalty_N = kl_penalty(policy_N, ref_N, estimator)
        [gradient_N] = torch.autograd.grad(penalty_N.sum(), policy_N)
        assert gradient_N.tolist() == pytest.approx(slopes)


@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1))
@settings(deadline=None)
def test_k3_is_never_negative_and_zero_only_where_both_agree(
    pairs: list[tuple[float, float]],
) -> None:
    sampled_N, other_N = (f64(*side) for side in zip(*pairs, strict=True))
    assert (k3(sampled_N, other_N) >= 0).all()
    assert (k3(sampled_N, sampled_N) == 0).all()


def categorical() -> tuple[Tensor, Tensor, Tensor]:
    """A parameter, its log distribution over four tokens, and a reference's."""
    logits_V = f64(0.3, -1.2, 0.9, 0.1).requires_grad_()
    return logits_V, logits_V.log_softmax(0), f64(-0.5, 0.4, 1.0, 0.2).log_softmax(0)


def test_k3_is_the_divergence_in_expectation() -> None:
    _, policy_V, ref_V = categorical()
    exact = (policy_V.exp() * (policy_V - ref_V)).sum()
    expected = (policy_V.exp() * k3(policy_V, ref_V)).sum()
    assert float(expected.detach()) == pytest.approx(float(exact.detach()))


@pytest.mark.parametrize("estimator", KL)
def test_the_expected_gradient_of_each_kl_estimator_is_a_divergences(
    estimator: KlEstimator,
) -> None:
    """k1 and k2: that of KL(policy, reference), which is wanted. k3: that of the reverse."""
    logits_V, policy_V, ref_V = categorical()
    drawn_V = policy_V.exp().detach()  # what tokens are drawn from is not differentiated
    expected = (drawn_V * kl_penalty(policy_V, ref_V, estimator)).sum()
    if estimator == "k3":
        exact = (ref_V.exp() * (ref_V - policy_V)).sum()
    else:
        exact = (policy_V.exp() * (policy_V - ref_V)).sum()
    [got_V] = torch.autograd.grad(expected, logits_V, retain_graph=True)
    [wanted_V] = torch.autograd.grad(exact, logits_V)
    assert got_V.tolist() == pytest.approx(wanted_V.tolist(), abs=1e-12)
    assert float(wanted_V.abs().max()) > 0.01


# Denominators


def test_token_weights_by_hand() -> None:
    counts = [4, 0, 1, 5]
    assert token_weights(counts, "tokens", 8) == [0.1, 0, 0.1, 0.1]
    assert token_weights(counts, "sequences", 8) == pytest.approx([1 / 12, 0, 1 / 3, 1 / 15])
    assert token_weights(counts, "sequences_x_max_tokens", 8) == pytest.approx(
        [1 / 24, 0, 1 / 24, 1 / 24]
    )


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any))
@settings(deadline=None)
def test_token_weights_add_up_to_one_where_the_denominator_is_what_is_there(
    counts: list[int],
) -> None:
    for denominator in ("tokens", "sequences"):
        weights = token_weights(counts, denominator, 9)
        assert sum(w * n for w, n in zip(weights, counts, strict=True)) == pytest.approx(1)
    fixed = token_weights(counts, "sequences_x_max_tokens", 9)
    filled = sum(w * n for w, n in zip(fixed, counts, strict=True))
    assert filled == pytest.approx(sum(counts) / (9 * sum(n > 0 for n in counts)))


def test_sequence_means_by_hand() -> None:
    means_S = sequence_means(f64(1, 2, 3, 10), torch.tensor([0, 2, 0, 2]), 4)
    assert means_S.tolist() == [2, 0, 6, 0]


def test_an_infinite_ratio_does_not_become_a_loss() -> None:
    assert at_ratio(reinforce, 1e300, 1.0)[:2] == pytest.approx((3, -3))
    assert at_ratio(ppo_clip, 1e300, -1.0)[0] == 3
    assert inf not in at_ratio(cispo, 1e300, 1.0)
