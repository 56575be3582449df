"""Every loss against numbers worked out by hand in float64, and against finite differences."""

from math import exp, inf, log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from podium_trainer.update.denominators import token_weights
from podium_trainer.update.loss import (
    LOSSES,
    LossInputs,
    LossOutputs,
    cispo,
    gspo,
    ppo_clip,
    reinforce,
    rft,
)
from podium_trainer.update.ratios import sequence_means
from tests.trainer.tiny import f64


def inputs(
    policy_N: Tensor,
    old_N: Tensor,
    advantages_N: Tensor,
    sequence: list[int] | None = None,
    behavior_N: Tensor | None = None,
    **changes: Any,
) -> LossInputs:
    """Make inputs with default bounds.

    All tokens are one sequence unless `sequence` says so, and the sampler is the old policy unless
    `behavior_N` says so.
    """
    sequence_N = torch.tensor(sequence if sequence is not None else [0] * len(policy_N))
    bounds = {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0, "importance_cap": 3.0} | changes
    num = int(sequence_N.max()) + 1
    behavior_N = old_N if behavior_N is None else behavior_N
    return LossInputs(policy_N, old_N, behavior_N, advantages_N, sequence_N, num, **bounds)


def at_ratio(
    loss: Any, ratio: float, advantage: float, weight: float = 1.0, **changes: Any
) -> tuple[float, float, bool]:
    """Return loss, gradient by the logprob and clip flag of one token whose logprob is -1.

    Its ratios are policy / old = `ratio` and old / behavior = `weight`.
    """
    policy_N, old_N = f64(-1).requires_grad_(), f64(-1 - log(ratio))
    every = inputs(policy_N, old_N, f64(advantage), behavior_N=old_N - log(weight), **changes)
    outputs: LossOutputs = loss(every)
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    return float(outputs.loss_N.detach()), float(gradient_N), bool(outputs.clipped_N)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.0, 1.0, -1.0, -1.0, False),
        (1.1, 2.0, -2.2, -2.2, False),
        (1.27, 1.0, -1.27, -1.27, False),
        (1.29, 1.0, -1.28, 0.0, True),  # above 1 + .28 with a positive advantage: no more push
        (2.5, 2.0, -2.56, 0.0, True),
        (0.5, 1.0, -0.5, -0.5, False),  # below the bounds with a positive advantage: pushed back
        (1.0, -1.0, 1.0, 1.0, False),
        (0.9, -2.0, 1.8, 1.8, False),
        (0.79, -1.0, 0.8, 0.0, True),  # below 1 - .2 with a negative advantage: no more push
        (0.1, -2.0, 1.6, 0.0, True),
        (1.5, -1.0, 1.5, 1.5, False),  # above the bounds with a negative advantage: pushed back
        (2.9, -1.0, 2.9, 2.9, False),
        (8.0, -1.0, 3.0, 0.0, True),  # dual-clip bounds the push back
        (8.0, 1.0, -1.28, 0.0, True),
        (1.5, 0.0, 0.0, 0.0, False),
    ],
)
def test_the_clipped_surrogate_by_hand(
    ratio: float, advantage: float, loss: float, gradient: float, clipped: bool
) -> None:
    assert at_ratio(ppo_clip, ratio, advantage) == pytest.approx((loss, gradient, clipped))


def test_without_dual_clip_the_push_back_has_no_bound() -> None:
    assert at_ratio(ppo_clip, 8.0, -1.0, dual_clip=None) == pytest.approx((8, 8, False))


@pytest.mark.parametrize(
    ("name", "loss", "gradient"),
    [
        # The ratio is 1.1 and the advantage 2; log p is -1.
        ("grpo", -2.2, -2.2),
        ("dr_grpo", -2.2, -2.2),
        ("dapo", -2.2, -2.2),
        ("gspo", -2.0008, 0.0),  # clipped at 1.0004
        ("cispo", 2.2, -2.2),
        ("reinforce", 2.2, -2.2),
    ],
)
@pytest.mark.parametrize(("weight", "truncated"), [(0.5, 0.5), (2.0, 2.0), (7.0, 3.0)])
def test_the_samplers_mismatch_is_a_truncated_weight(
    name: str, loss: float, gradient: float, weight: float, truncated: float
) -> None:
    settings = LOSSES[name]
    bounds = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    actual = at_ratio(settings.function, 1.1, 2.0, weight, **bounds)
    expected = (truncated * loss, truncated * gradient, name == "gspo")
    assert actual == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
@given(st.lists(st.floats(-9, 0), min_size=1, max_size=6), st.floats(0, 5), st.floats(-2, 2))
@settings(deadline=None, max_examples=25)
def test_on_policy_nothing_is_clipped(
    name: str, logprobs: list[float], noise: float, advantage: float
) -> None:
    """Give a sampler that is as far from the policy as it likes."""
    policy_N = f64(*logprobs).requires_grad_()
    old_N, count = policy_N.detach(), len(logprobs)
    behavior_N = old_N + noise * f64(*[(-1) ** n for n in range(count)])
    loss = LOSSES[name]
    outputs = loss.function(
        inputs(policy_N, old_N, f64(*[advantage] * count), behavior_N=behavior_N,
               clip_low=loss.clip_low, clip_high=loss.clip_high)
    )  # fmt: skip
    assert not outputs.clipped_N.any()


def test_each_side_has_its_own_clip_bound() -> None:
    bounds = {"clip_low": 0.1, "clip_high": 0.5}
    assert at_ratio(ppo_clip, 1.4, 1.0, **bounds) == pytest.approx((-1.4, -1.4, False))
    assert at_ratio(ppo_clip, 1.6, 1.0, **bounds) == pytest.approx((-1.5, 0, True))
    assert at_ratio(ppo_clip, 0.85, -1.0, **bounds) == pytest.approx((0.9, 0, True))


def test_gspo_uses_each_sequences_geometric_mean_ratio() -> None:
    # Sequence 0 has the ratios 2 and 1/2, whose geometric mean is 1; sequence 1 has 1.1; sequence
    # 2 has 1 and .81, whose geometric mean is .9.
    ratios = f64(2, 0.5, 1.1, 1, 0.81)
    policy_N = f64(-1, -2, -3, -1, -1).requires_grad_()
    advantages_N = f64(1, 1, 2, -1, -1)
    old_N = policy_N.detach() - ratios.log()
    outputs = gspo(inputs(policy_N, old_N, advantages_N, [0, 0, 1, 2, 2]))
    assert outputs.loss_N.tolist() == pytest.approx([-1, -1, -2.2, 0.9, 0.9])
    assert not outputs.clipped_N.any()
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    # For a sequence y, d s / d log p_t = s / |y|, and each of its |y| tokens has the loss -s A.
    assert gradient_N.tolist() == pytest.approx([-1, -1, -2.2, 0.9, 0.9])


def test_gspo_clips_whole_sequences_at_its_own_bounds() -> None:
    loss = LOSSES["gspo"]
    policy_N = f64(-1, -1, -1, -1).requires_grad_()
    log_ratios = f64(0.0010, 0, 0.0006, 0)  # means .0005 and .0003; the bound is ln 1.0004
    outputs = loss.function(
        inputs(policy_N, policy_N.detach() - log_ratios, f64(1, 1, 1, 1), [0, 0, 1, 1],
               clip_low=loss.clip_low, clip_high=loss.clip_high)
    )  # fmt: skip
    assert outputs.loss_N.tolist() == pytest.approx([-1.0004] * 2 + [-exp(0.0003)] * 2, abs=1e-9)
    assert outputs.clipped_N.tolist() == [True, True, False, False]
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert gradient_N.tolist() == pytest.approx([0, 0, -exp(0.0003), -exp(0.0003)])


def test_gspo_weighs_a_sequence_by_its_geometric_mean() -> None:
    # The weights old / behavior are 4 and 1/4 in sequence 0, 2 and 8 in sequence 1: means 1 and 4.
    policy_N = f64(-1, -1, -1, -1).requires_grad_()
    old_N, advantages_N = policy_N.detach(), f64(1, 1, -2, -2)
    behavior_N = old_N - f64(4, 0.25, 2, 8).log()
    outputs = gspo(inputs(policy_N, old_N, advantages_N, [0, 0, 1, 1], behavior_N))
    assert outputs.loss_N.tolist() == pytest.approx([-1, -1, 6, 6])  # 4 is truncated at 3


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight", "clipped"),
    [
        (1.0, 2.0, 1.0, False),
        (1.5, 1.0, 1.5, False),
        (2.5, 1.0, 2.0, True),  # clipped, but not dropped
        (2.5, -1.0, 2.0, True),
        (0.01, -3.0, 0.01, False),  # the paper has no lower bound
    ],
)
def test_cispo_weighs_each_token_and_drops_none(
    ratio: float, advantage: float, weight: float, clipped: bool
) -> None:
    loss = LOSSES["cispo"]
    actual = at_ratio(
        loss.function, ratio, advantage, clip_low=loss.clip_low, clip_high=loss.clip_high
    )
    # With log p = -1 the loss is w A; its gradient is -w A, because the weight is a constant.
    assert actual == pytest.approx((weight * advantage, -weight * advantage, clipped))


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


def test_reinforce_truncates_ratios_at_importance_cap() -> None:
    assert at_ratio(reinforce, 3.5, 2.0) == pytest.approx((6, -6, True))
    assert at_ratio(reinforce, 3.5, 2.0, importance_cap=1.0) == pytest.approx((2, -2, True))


@given(st.floats(-5, -0.01), st.floats(0.01, 20), st.floats(-2, 2))
@settings(deadline=None)
def test_rft_never_pushes_down_and_ignores_the_ratio(
    logprob: float, ratio: float, advantage: float
) -> None:
    policy_N = f64(logprob).requires_grad_()
    outputs = rft(inputs(policy_N, f64(logprob - log(ratio)), f64(advantage)))
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert float(gradient_N) == pytest.approx(-max(advantage, 0))
    assert not outputs.clipped_N.any()


@pytest.mark.parametrize("name", LOSSES)
def test_zero_advantages_leave_no_gradient(name: str) -> None:
    policy_N = f64(-1, -2, -0.5).requires_grad_()
    outputs = LOSSES[name].function(
        inputs(policy_N, f64(-1.5, -0.2, -0.5), torch.zeros(3).double(), [0, 0, 1])
    )
    [gradient_N] = torch.autograd.grad(outputs.loss_N.sum(), policy_N)
    assert gradient_N.tolist() == [0, 0, 0]
    assert outputs.loss_N.tolist() == [0, 0, 0]
    assert outputs.clipped_N.dtype == torch.bool


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo"])
def test_surrogate_gradients_match_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    old_N, advantages_N = f64(-1, -2, -3, -1, -2), f64(1, 1, -1, -1, 0.5)
    policy_N = (old_N + 0.3 * torch.randn(5).double()).requires_grad_()
    behavior_N = old_N + 0.3 * torch.randn(5).double()

    def losses(policy_N: Tensor) -> Tensor:
        every = inputs(policy_N, old_N, advantages_N, [0, 0, 1, 1, 2], behavior_N, clip_high=0.1)
        return LOSSES[name].function(every).loss_N

    assert torch.autograd.gradcheck(losses, policy_N)


@pytest.mark.parametrize("name", ["cispo", "reinforce", "rft"])
def test_weighted_likelihood_gradients_match_finite_differences(name: str) -> None:
    """Hold the ratio constant under the differences, because these losses stop its gradient."""
    torch.manual_seed(0)
    log_ratio_N, advantages_N = torch.randn(5).double(), f64(1, 1, -1, -1, 0.5)
    policy_N = f64(-1, -2, -3, -1, -2).requires_grad_()

    def losses(policy_N: Tensor) -> Tensor:
        old_N = policy_N.detach() - log_ratio_N
        return LOSSES[name].function(inputs(policy_N, old_N, advantages_N)).loss_N

    assert torch.autograd.gradcheck(losses, policy_N)


def test_every_loss_has_the_denominator_of_its_paper() -> None:
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
        ppo_clip, gspo, cispo, reinforce, rft,
    }  # fmt: skip


def test_token_weights_by_hand() -> None:
    counts = [4, 0, 1, 5]
    assert token_weights(counts, "tokens", 8) == [0.1, 0, 0.1, 0.1]
    assert token_weights(counts, "sequences", 8) == pytest.approx([1 / 12, 0, 1 / 3, 1 / 15])
    assert token_weights(counts, "sequences_x_max_tokens", 8) == pytest.approx(
        [1 / 24, 0, 1 / 24, 1 / 24]
    )


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any))
@settings(deadline=None)
def test_token_weights_sum_to_one_unless_the_length_is_fixed(
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


def test_a_huge_ratio_does_not_make_the_loss_infinite() -> None:
    assert at_ratio(reinforce, 1e300, 1.0)[:2] == pytest.approx((3, -3))
    assert at_ratio(ppo_clip, 1e300, -1.0)[0] == 3
    assert at_ratio(ppo_clip, 1.0, -1.0, 1e300)[:2] == pytest.approx((3, 3))
    assert inf not in at_ratio(ppo_clip, 1e300, -1.0, dual_clip=None)
    assert inf not in at_ratio(gspo, 1e300, -1.0, dual_clip=None)
    assert inf not in at_ratio(cispo, 1e300, 1.0)
