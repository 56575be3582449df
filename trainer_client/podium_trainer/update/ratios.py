"""Compare the logprobs that two models give to the same tokens.

Three models meet in an update:

    behavior   drew the tokens: the sampler, with its own arithmetic and perhaps older weights
    old        the policy at the start of the update
    policy     the policy now, which each optimizer step moves away from old

policy / old is the ratio that a loss clips: it is 1 until the first optimizer step, so that nothing
is clipped on-policy. old / behavior is no move of the policy. It corrects for the sampler, as a
truncated weight that a loss multiplies by.
"""

import torch
from torch import Tensor

# Bounds log ratios, so that ratios and their squares are finite in float32. It is far above the
# logarithm of any bound that a run would set.
MAX_LOG_RATIO = 20.0


def clamped_log_ratio(top_logprobs_N: Tensor, bottom_logprobs_N: Tensor) -> Tensor:
    """Compute log(top / bottom) of each token, within MAX_LOG_RATIO of 0.

    A token beyond it has no gradient.
    """
    return (top_logprobs_N - bottom_logprobs_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def truncated_weights(
    old_logprobs_N: Tensor, behavior_logprobs_N: Tensor, importance_cap: float
) -> Tensor:
    """Compute the weight `min(old / behavior, importance_cap)` of each token.

    It is called truncated importance sampling (TIS): the cap bounds the variance, at the price of a
    small bias.

    Args:
        old_logprobs_N, behavior_logprobs_N: float32 tensors of shape (N,), without gradient.
        importance_cap: the largest weight, at least 1.

    Source:
        Ionides 2008, 10.1198/106186008X320456; for a sampler apart from the trainer: Yao et al.
        2025, "Your efficient RL framework secretly brings you off-policy RL training",
        fengyao.notion.site/off-policy-rl. The separation of the policy that is corrected for from
        the one that is clipped against: Hilton et al. 2021, arXiv:2110.00641.
    """
    return clamped_log_ratio(old_logprobs_N, behavior_logprobs_N).exp().clamp(max=importance_cap)


def geometric_means(log_ratio_N: Tensor, sequence_N: Tensor, num_sequences: int) -> Tensor:
    """Compute the geometric mean of each sequence's ratios, 1 for a sequence without tokens.

    Returns:
        Tensor of shape (num_sequences,).
    """
    return sequence_means(log_ratio_N, sequence_N, num_sequences).exp()


def sequence_means(values_N: Tensor, sequence_N: Tensor, num_sequences: int) -> Tensor:
    """Average values over each sequence's tokens.

    Returns:
        Tensor of shape (num_sequences,), 0 for a sequence without tokens.
    """
    zeros_S = values_N.new_zeros(num_sequences)
    counts_S = zeros_S.index_add(0, sequence_N, torch.ones_like(values_N))
    return zeros_S.index_add(0, sequence_N, values_N) / counts_S.clamp(min=1)
