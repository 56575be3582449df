"""Estimate KL divergences per token, as a penalty of the loss and as a statistic."""

from typing import Literal

import torch
from torch import Tensor

from podium_trainer.update.ratios import clamped_log_ratio

KlEstimator = Literal["k1", "k2", "k3"]


def kl_penalty(policy_logprobs_N: Tensor, ref_logprobs_N: Tensor, estimator: KlEstimator) -> Tensor:
    """Compute a per-token loss whose gradient pulls the policy toward the reference.

    With d = log policy - log reference, k1 is `sg(d) log policy`, whose gradient is that of the KL
    divergence on fresh samples (d itself has none in expectation); k2 is `d^2 / 2`; k3 is
    `exp(-d) - 1 + d`.

    Args:
        policy_logprobs_N: float32 tensor of shape (N,), with gradient.
        ref_logprobs_N: float32 tensor of shape (N,).
        estimator: the name of the estimator.

    Returns:
        Float32 tensor of shape (N,), in nats.

    Source:
        Schulman 2020, "Approximating KL divergence", joschu.net/blog/kl-approx.html.
    """
    d_N = policy_logprobs_N - ref_logprobs_N
    if estimator == "k1":
        return d_N.detach() * policy_logprobs_N
    return d_N.square() / 2 if estimator == "k2" else k3(policy_logprobs_N, ref_logprobs_N)


def k3(sampled_logprobs_N: Tensor, other_logprobs_N: Tensor) -> Tensor:
    """Estimate KL(sampled, other) per token by `exp(-d) - 1 + d`, d = log sampled - log other.

    The estimate is never negative, and unbiased on tokens drawn from `sampled`. d is held within
    MAX_LOG_RATIO of 0, because exp(99) is infinite in float32; beyond that there is no gradient.

    Returns:
        Tensor of shape (N,), in nats.

    Source:
        Schulman 2020, as for `kl_penalty`.
    """
    d_N = clamped_log_ratio(sampled_logprobs_N, other_logprobs_N)
    return torch.expm1(-d_N) + d_N
