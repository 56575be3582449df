"""KL estimators against numbers worked out by hand and exact divergences."""

from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from podium_trainer.update.kl import KlEstimator, k3, kl_penalty
from tests.trainer.tiny import f64

KL: list[KlEstimator] = ["k1", "k2", "k3"]


def test_kl_estimators_by_hand() -> None:
    policy_N, ref_N = f64(log(0.5), log(0.2)).requires_grad_(), f64(log(0.25), log(0.4))
    d = log(2)  # of the first token; the second has -d
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


def test_k3_stays_finite_at_a_log_ratio_of_99() -> None:
    policy_N = torch.tensor([-99.0, 0.0]).requires_grad_()
    penalty_N = kl_penalty(policy_N, torch.tensor([0.0, -99.0]), "k3")
    assert penalty_N.tolist() == pytest.approx([exp(20) - 21, 19])
    [gradient_N] = torch.autograd.grad(penalty_N.sum(), policy_N)
    assert gradient_N.tolist() == [0, 0]


def categorical() -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (V,), their log softmax and a reference's log distribution; V is 4."""
    logits_V = f64(0.3, -1.2, 0.9, 0.1).requires_grad_()
    return logits_V, logits_V.log_softmax(0), f64(-0.5, 0.4, 1.0, 0.2).log_softmax(0)


def test_k3_is_the_divergence_in_expectation() -> None:
    _, policy_V, ref_V = categorical()
    exact = (policy_V.exp() * (policy_V - ref_V)).sum()
    expected = (policy_V.exp() * k3(policy_V, ref_V)).sum()
    assert float(expected.detach()) == pytest.approx(float(exact.detach()))


@pytest.mark.parametrize("estimator", KL)
def test_each_kl_estimators_expected_gradient_is_a_divergences(
    estimator: KlEstimator,
) -> None:
    """Check that k1 and k2 descend KL(policy, reference), and k3 the reverse divergence."""
    logits_V, policy_V, ref_V = categorical()
    drawn_V = policy_V.exp().detach()  # sampling is not differentiated
    expected = (drawn_V * kl_penalty(policy_V, ref_V, estimator)).sum()
    if estimator == "k3":
        exact = (ref_V.exp() * (ref_V - policy_V)).sum()
    else:
        exact = (policy_V.exp() * (policy_V - ref_V)).sum()
    [gradient_V] = torch.autograd.grad(expected, logits_V, retain_graph=True)
    [exact_gradient_V] = torch.autograd.grad(exact, logits_V)
    assert gradient_V.tolist() == pytest.approx(exact_gradient_V.tolist(), abs=1e-12)
    assert float(exact_gradient_V.abs().max()) > 0.01
