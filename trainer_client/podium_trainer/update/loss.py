"""The losses, as pure functions from per-token streams to per-token losses.

`ratio` is always policy over behavior: against the probabilities that the tokens were sampled with,
so that it corrects for stale weights and for a sampler that computes a little differently.

To add a loss: write a function `LossInputs -> LossOutputs`, then an entry in LOSSES that names its
denominator and its clip bounds. A denominator is counted over the whole optimizer step, before it
is cut into micro-batches, so cutting changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # beyond it a ratio is capped anyway, and its square must stay finite

Denominator = Literal["tokens", "sequences", "sequences_x_max_tokens"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True)
class LossInputs:
    """The N trained tokens of one micro-batch.

    Attributes:
        policy_logprobs_N: float32 with gradient.
        behavior_logprobs_N: float32.
        advantages_N: float32.
        sequence_N: int64, the sequence of each token, in [0, num_sequences).
        num_sequences: how many sequences there are.
        clip_low, clip_high: ratios below 1 - clip_low or above 1 + clip_high are clipped.
        ratio_cap: no token's ratio counts more than this (truncated importance sampling), where
            the loss has none of its own: gspo and cispo clip theirs.
    """

    policy_logprobs_N: Tensor
    behavior_logprobs_N: Tensor
    advantages_N: Tensor
    sequence_N: Tensor
    num_sequences: int
    clip_low: float
    clip_high: float
    ratio_cap: float

    @property
    def ratio_N(self) -> Tensor:
        log_ratio_N = self.policy_logprobs_N - self.behavior_logprobs_N
        return log_ratio_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


@dataclass(frozen=True)
class LossOutputs:
    """Losses of N tokens, not yet divided by anything.

    Attributes:
        loss_N: float32 with gradient.
        clipped_N: bool, where the clip took the gradient away.
    """

    loss_N: Tensor
    clipped_N: Tensor


LossFunction = Callable[[LossInputs], LossOutputs]


def ppo_clip(inputs: LossInputs) -> LossOutputs:
    """`-min(r A, clip(r, 1 - low, 1 + high) A)`, with r truncated at ratio_cap.

    Source:
        Shao et al. 2024, arXiv:2402.03300, eq. 3; bounds of their own: Yu et al. 2025,
        arXiv:2503.14476.
    """
    outputs = _clipped_surrogate(inputs, inputs.ratio_N.clamp(max=inputs.ratio_cap))
    is_over_N = (inputs.ratio_N > inputs.ratio_cap) & (inputs.advantages_N != 0)
    return LossOutputs(outputs.loss_N, outputs.clipped_N | is_over_N)


def sequence_ratio(inputs: LossInputs) -> LossOutputs:
    """The same with each sequence's geometric mean ratio in place of its tokens' ratios.

    Source:
        Zheng et al. 2025, arXiv:2507.18071 (GSPO), eq. 5-7.
    """
    log_ratio_N = inputs.policy_logprobs_N - inputs.behavior_logprobs_N
    mean_S = sequence_means(log_ratio_N, inputs.sequence_N, inputs.num_sequences)
    return _clipped_surrogate(inputs, mean_S.exp()[inputs.sequence_N])


def _clipped_surrogate(inputs: LossInputs, ratio_N: Tensor) -> LossOutputs:
    clipped_ratio_N = ratio_N.clamp(1 - inputs.clip_low, 1 + inputs.clip_high)
    plain_N, bounded_N = ratio_N * inputs.advantages_N, clipped_ratio_N * inputs.advantages_N
    return LossOutputs(-torch.minimum(plain_N, bounded_N), bounded_N < plain_N)


def cispo(inputs: LossInputs) -> LossOutputs:
    """`-sg(clip(r, 1 - low, 1 + high)) A log p`: clipped ratios weigh, and no token is dropped.

    Source:
        MiniMax 2025, arXiv:2506.13585, eq. 4.
    """
    ratio_N = inputs.ratio_N.detach()
    weight_N = ratio_N.clamp(1 - inputs.clip_low, 1 + inputs.clip_high)
    return LossOutputs(
        -weight_N * inputs.advantages_N * inputs.policy_logprobs_N, weight_N != ratio_N
    )


def reinforce(inputs: LossInputs) -> LossOutputs:
    """`-sg(min(r, ratio_cap)) A log p`.

    Source:
        Williams 1992; truncated importance weights: Ionides 2008, 10.1198/106186008X320456.
    """
    ratio_N = inputs.ratio_N.detach()
    weight_N = ratio_N.clamp(max=inputs.ratio_cap)
    return LossOutputs(
        -weight_N * inputs.advantages_N * inputs.policy_logprobs_N, ratio_N > inputs.ratio_cap
    )


def rft(inputs: LossInputs) -> LossOutputs:
    """`-max(A, 0) log p`: imitation of what did well. With advantages `best`, its own, supervised
    training on the best of each group; with `mean`, REINFORCE without its pushes away.

    Source:
        Yuan et al. 2023, arXiv:2308.01825 (rejection sampling fine-tuning).
    """
    weight_N = inputs.advantages_N.clamp(min=0)
    return LossOutputs(
        -weight_N * inputs.policy_logprobs_N, torch.zeros_like(weight_N, dtype=torch.bool)
    )


@dataclass(frozen=True)
class Loss:
    """A loss function, what its sum is divided by, and what it was published with."""

    function: LossFunction
    denominator: Denominator
    clip_low: float = 0.2
    clip_high: float = 0.28
    advantages: str = "mean"


LOSSES: dict[str, Loss] = {
    "grpo": Loss(ppo_clip, "sequences"),
    "dr_grpo": Loss(ppo_clip, "sequences_x_max_tokens"),
    "dapo": Loss(ppo_clip, "tokens"),
    "gspo": Loss(sequence_ratio, "sequences", 3e-4, 4e-4),
    "cispo": Loss(cispo, "tokens", 1.0, 1.0),
    "reinforce": Loss(reinforce, "tokens"),
    "rft": Loss(rft, "tokens", advantages="best"),
}


def kl_penalty(policy_N: Tensor, ref_N: Tensor, estimator: KlEstimator) -> Tensor:
    """A per-token loss whose gradient pulls the policy toward the reference.

    With d = log policy - log reference: k1 is `sg(d) log policy`, whose gradient is that of the KL
    divergence on fresh samples (d itself has none in expectation); k2 is `d^2 / 2`; k3 is
    `exp(-d) - 1 + d`.

    Args:
        policy_N: the policy's logprobs, shape (N,), with gradient.
        ref_N: the reference's.

    Source:
        Schulman 2020, "Approximating KL divergence", joschu.net/blog/kl-approx.html.
    """
    d_N = policy_N - ref_N
    if estimator == "k1":
        return d_N.detach() * policy_N
    return d_N.square() / 2 if estimator == "k2" else k3(policy_N, ref_N)


def k3(sampled_N: Tensor, other_N: Tensor) -> Tensor:
    """`exp(-d) - 1 + d` with d = log sampled - log other: never negative, and unbiased for
    KL(sampled, other) on tokens drawn from `sampled`."""
    d_N = sampled_N - other_N
    return torch.expm1(-d_N) + d_N


def sequence_means(values_N: Tensor, sequence_N: Tensor, num_sequences: int) -> Tensor:
    """The mean over each sequence's tokens; shape (num_sequences,), 0 for one without tokens."""
    zeros_S = values_N.new_zeros(num_sequences)
    counts_S = zeros_S.index_add(0, sequence_N, torch.ones_like(values_N))
    return zeros_S.index_add(0, sequence_N, values_N) / counts_S.clamp(min=1)


def token_weights(
    tokens_per_sequence: list[int], denominator: Denominator, max_tokens: int
) -> list[float]:
    """The weight of one token of each sequence, so that a weighted sum is the loss.

    Args:
        tokens_per_sequence: trained tokens of every sequence of the optimizer step; those with none
            do not count.
        denominator: what the sum of the per-token losses is divided by; "sequences" takes the mean
            over each sequence's tokens first.
        max_tokens: the most tokens a completion may have.

    Source:
        Liu et al. 2025, arXiv:2503.20783 compares the three.
    """
    tokens = sum(tokens_per_sequence)
    sequences = sum(count > 0 for count in tokens_per_sequence)
    if denominator == "tokens":
        return [1 / tokens if count else 0.0 for count in tokens_per_sequence]
    if denominator == "sequences":
        return [1 / (sequences * count) if count else 0.0 for count in tokens_per_sequence]
    return [1 / (sequences * max_tokens) if count else 0.0 for count in tokens_per_sequence]
