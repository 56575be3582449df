"""Compute per-token losses as pure functions of logprobs and advantages.

A ratio is always policy over behavior: it compares with the probabilities that the tokens were
sampled with, so that it corrects for stale weights and for a sampler that computes a little
differently.

    name        function    its sum is divided by                       paper
    grpo        ppo_clip    the tokens of each sequence, then sequences arXiv:2402.03300
    dr_grpo     ppo_clip    sequences times max_tokens                  arXiv:2503.20783
    dapo        ppo_clip    tokens                                      arXiv:2503.14476
    gspo        gspo        the tokens of each sequence, then sequences arXiv:2507.18071
    cispo       cispo       tokens                                      arXiv:2506.13585
    reinforce   reinforce   tokens                                      Williams 1992
    rft         rft         tokens                                      arXiv:2308.01825

To add a loss:

1. Write a function from `LossInputs` to `LossOutputs`, with the formula and its paper.
2. Put it into LOSSES with its denominator and clip bounds, and its name into `config.LossName`.
   The denominator is counted over the whole optimizer step, so micro-batches change nothing.
3. Add its formula to `naive_token_losses` in tests/trainer/update/plain_update.py, and numbers
   worked out by hand to test_loss.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # keeps ratios and their squares finite, and is far above any ratio_cap

Denominator = Literal["tokens", "sequences", "sequences_x_max_tokens"]


@dataclass(frozen=True)
class LossInputs:
    """The N trained tokens of one micro-batch.

    Attributes:
        policy_logprobs_N: float32 with gradient.
        behavior_logprobs_N: float32.
        advantages_N: float32.
        sequence_N: int64, the sequence of each token, in [0, num_sequences).
        num_sequences: S, the number of sequences.
        clip_low, clip_high: ratios below 1 - clip_low or above 1 + clip_high are clipped.
        ratio_cap: the largest weight that a token's ratio may have (truncated importance sampling).
            gspo and cispo ignore it, because they clip their ratios on both sides.
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
        """The ratios policy / behavior of shape (N,), with gradient."""
        log_ratio_N = self.policy_logprobs_N - self.behavior_logprobs_N
        return log_ratio_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


@dataclass(frozen=True)
class LossOutputs:
    """Losses of N tokens, not yet divided by anything.

    Attributes:
        loss_N: float32 with gradient.
        clipped_N: bool, True where a bound took the gradient away or changed a weight.
    """

    loss_N: Tensor
    clipped_N: Tensor


LossFunction = Callable[[LossInputs], LossOutputs]


def ppo_clip(inputs: LossInputs) -> LossOutputs:
    """Compute `-min(r A, clip(r, 1 - low, 1 + high) A)` with each token's ratio r.

    A token loses its gradient once its ratio has left the bounds in the direction that its
    advantage A pushes. Ratios are first truncated at ratio_cap, which also bounds the tokens that
    are pushed back. The GRPO paper clips at the same distance on both sides; DAPO raises the upper
    bound, so that unlikely tokens can gain more.

    Source:
        Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO); Yu et al. 2025, arXiv:2503.14476 (DAPO,
        separate bounds).
    """
    outputs = _clip_surrogate(inputs, inputs.ratio_N.clamp(max=inputs.ratio_cap))
    is_capped_N = (inputs.ratio_N > inputs.ratio_cap) & (inputs.advantages_N != 0)
    return LossOutputs(outputs.loss_N, outputs.clipped_N | is_capped_N)


def gspo(inputs: LossInputs) -> LossOutputs:
    """Compute the clipped surrogate with the geometric mean ratio of each token's sequence.

    A sequence is clipped as a whole, at bounds that are far narrower than those of token ratios,
    because the mean of many log ratios is close to 0.

    Source:
        Zheng et al. 2025, arXiv:2507.18071 (GSPO), eq. 5-7.
    """
    log_ratio_N = inputs.policy_logprobs_N - inputs.behavior_logprobs_N
    mean_S = sequence_means(log_ratio_N, inputs.sequence_N, inputs.num_sequences)
    return _clip_surrogate(inputs, mean_S.exp()[inputs.sequence_N])


def _clip_surrogate(inputs: LossInputs, ratio_N: Tensor) -> LossOutputs:
    """Compute `-min(r A, clip(r, 1 - low, 1 + high) A)` for given ratios r of shape (N,)."""
    clipped_ratio_N = ratio_N.clamp(1 - inputs.clip_low, 1 + inputs.clip_high)
    plain_N, bounded_N = ratio_N * inputs.advantages_N, clipped_ratio_N * inputs.advantages_N
    return LossOutputs(-torch.minimum(plain_N, bounded_N), bounded_N < plain_N)


def cispo(inputs: LossInputs) -> LossOutputs:
    """Compute `-sg(clip(r, 1 - low, 1 + high)) A log p`, where sg stops the gradient.

    A clipped ratio is a weight on the token's gradient, so that no token is dropped. The paper sets
    no lower bound, which is clip_low 1.

    Source:
        MiniMax 2025, arXiv:2506.13585, eq. 4 (CISPO).
    """
    ratio_N = inputs.ratio_N.detach()
    weight_N = ratio_N.clamp(1 - inputs.clip_low, 1 + inputs.clip_high)
    return LossOutputs(
        -weight_N * inputs.advantages_N * inputs.policy_logprobs_N, weight_N != ratio_N
    )


def reinforce(inputs: LossInputs) -> LossOutputs:
    """Compute `-sg(min(r, ratio_cap)) A log p`, where sg stops the gradient.

    On fresh samples r is 1 and this is the plain policy gradient; on stale ones the truncated ratio
    corrects for the difference.

    Source:
        Williams 1992, 10.1007/BF00992696; truncated importance weights: Ionides 2008,
        10.1198/106186008X320456.
    """
    ratio_N = inputs.ratio_N.detach()
    weight_N = ratio_N.clamp(max=inputs.ratio_cap)
    return LossOutputs(
        -weight_N * inputs.advantages_N * inputs.policy_logprobs_N, ratio_N > inputs.ratio_cap
    )


def rft(inputs: LossInputs) -> LossOutputs:
    """Compute `-max(A, 0) log p`, which imitates good attempts and ignores the ratio.

    With the advantages `best`, its default, this is supervised training on the best attempt of each
    group; with `mean` it is REINFORCE without the pushes away from bad attempts.

    Source:
        Yuan et al. 2023, arXiv:2308.01825 (rejection sampling fine-tuning).
    """
    weight_N = inputs.advantages_N.clamp(min=0)
    return LossOutputs(
        -weight_N * inputs.policy_logprobs_N, torch.zeros_like(weight_N, dtype=torch.bool)
    )


@dataclass(frozen=True)
class Loss:
    """A loss function with the settings that it was published with.

    Attributes:
        function: maps logprobs and advantages to per-token losses.
        denominator: divides the sum of the per-token losses, see `token_weights`.
        clip_low, clip_high: see `LossInputs`.
        advantages: a name in `advantages.ADVANTAGES`.
    """

    function: LossFunction
    denominator: Denominator
    clip_low: float = 0.2
    clip_high: float = 0.28
    advantages: str = "mean"


LOSSES: dict[str, Loss] = {
    "grpo": Loss(ppo_clip, "sequences"),
    "dr_grpo": Loss(ppo_clip, "sequences_x_max_tokens"),
    "dapo": Loss(ppo_clip, "tokens"),
    "gspo": Loss(gspo, "sequences", 3e-4, 4e-4),
    "cispo": Loss(cispo, "tokens", 1.0, 1.0),
    "reinforce": Loss(reinforce, "tokens"),
    "rft": Loss(rft, "tokens", advantages="best"),
}


def sequence_means(values_N: Tensor, sequence_N: Tensor, num_sequences: int) -> Tensor:
    """Average values over each sequence's tokens.

    Returns:
        Tensor of shape (num_sequences,), 0 for a sequence without tokens.
    """
    zeros_S = values_N.new_zeros(num_sequences)
    counts_S = zeros_S.index_add(0, sequence_N, torch.ones_like(values_N))
    return zeros_S.index_add(0, sequence_N, values_N) / counts_S.clamp(min=1)


def token_weights(
    tokens_per_sequence: list[int], denominator: Denominator, max_tokens: int
) -> list[float]:
    """Compute the weight of one token of each sequence, so that the weighted sum is the loss.

    Args:
        tokens_per_sequence: the number of trained tokens of every sequence of the optimizer step;
            sequences without any do not count.
        denominator: divides the sum of the per-token losses; "sequences" first takes the mean over
            each sequence's tokens.
        max_tokens: the largest number of tokens in a completion.

    Source:
        Liu et al. 2025, arXiv:2503.20783, compares the three.
    """
    tokens = sum(tokens_per_sequence)
    sequences = sum(count > 0 for count in tokens_per_sequence)
    if denominator == "tokens":
        return [1 / tokens if count else 0.0 for count in tokens_per_sequence]
    if denominator == "sequences":
        return [1 / (sequences * count) if count else 0.0 for count in tokens_per_sequence]
    return [1 / (sequences * max_tokens) if count else 0.0 for count in tokens_per_sequence]
