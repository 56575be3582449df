"""Compute per-token losses as pure functions of logprobs and advantages.

A loss sees two ratios (see ratios.py). It clips r = policy / old, the move of the policy since the
start of the update, and multiplies by the weight w = min(old / behavior, importance_cap), which
corrects for the sampler. The papers know no w, because they take the sampler for the old policy.

    name        function    its sum is divided by                       paper
    grpo        ppo_clip    the tokens of each sequence, then sequences arXiv:2402.03300
    dr_grpo     ppo_clip    sequences times max_tokens                  arXiv:2503.20783
    dapo        ppo_clip    tokens                                      arXiv:2503.14476
    gspo        gspo        the tokens of each sequence, then sequences arXiv:2507.18071
    cispo       cispo       tokens                                      arXiv:2506.13585
    reinforce   reinforce   tokens                                      Williams 1992
    rft         rft         tokens                                      arXiv:2308.01825

GRPO, DAPO, GSPO and CISPO divide the advantages by the standard deviation of the group, which is
`loss.advantages: group_std`; the default here is not to, for every loss.

To add a loss:

1. Write a function from `LossInputs` to `LossOutputs`, with the formula, its paper, and a sentence
   that says where it differs from the paper.
2. Put it into LOSSES with its denominator and clip bounds, and its name into `config.LossName`.
   The denominator is counted over the whole optimizer step, so micro-batches change nothing.
3. Add its formula to `naive_token_losses` in tests/trainer/update/plain_update.py, and numbers
   worked out by hand to test_loss.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from podium_trainer.update.denominators import Denominator
from podium_trainer.update.ratios import (
    clamped_log_ratio,
    geometric_means,
    truncated_weights,
)


@dataclass(frozen=True)
class LossInputs:
    """The N trained tokens of one micro-batch.

    Attributes:
        policy_logprobs_N: float32 with gradient.
        old_logprobs_N: float32, of the policy at the start of the update.
        behavior_logprobs_N: float32, of the sampler when it drew the tokens.
        advantages_N: float32.
        sequence_N: int64, the sequence of each token, in [0, num_sequences).
        num_sequences: S, the number of sequences.
        clip_low, clip_high: ratios policy / old below 1 - clip_low or above 1 + clip_high are
            clipped.
        dual_clip: the largest ratio policy / old by which a negative advantage counts; None for no
            such bound.
        importance_cap: the largest weight old / behavior.
    """

    policy_logprobs_N: Tensor
    old_logprobs_N: Tensor
    behavior_logprobs_N: Tensor
    advantages_N: Tensor
    sequence_N: Tensor
    num_sequences: int
    clip_low: float
    clip_high: float
    dual_clip: float | None
    importance_cap: float

    @property
    def log_ratio_N(self) -> Tensor:
        """The logarithms of policy / old, of shape (N,), with gradient."""
        return clamped_log_ratio(self.policy_logprobs_N, self.old_logprobs_N)

    @property
    def weight_N(self) -> Tensor:
        """The truncated weights old / behavior, of shape (N,)."""
        return truncated_weights(self.old_logprobs_N, self.behavior_logprobs_N, self.importance_cap)


@dataclass(frozen=True)
class LossOutputs:
    """Losses of N tokens, not yet divided by anything.

    Attributes:
        loss_N: float32 with gradient.
        clipped_N: bool, True where a bound on policy / old took the gradient away or changed a
            weight; False everywhere until the first optimizer step.
    """

    loss_N: Tensor
    clipped_N: Tensor


LossFunction = Callable[[LossInputs], LossOutputs]


def ppo_clip(inputs: LossInputs) -> LossOutputs:
    """Compute `-w min(r A, clip(r, 1 - low, 1 + high) A)` with each token's ratio r.

    A token loses its gradient once its ratio has left the bounds in the direction that its
    advantage A pushes.

    GRPO clips at the same distance on both sides; the upper bound here is DAPO's larger one for all
    three losses, so that unlikely tokens can gain more (`loss.clip_high: 0.2` is GRPO's). GRPO's KL
    penalty is off (`loss.kl: k3`). DAPO replaces groups without signal, which is
    `rollout.max_refills`; its penalty for long attempts is left to the judge. None of the papers
    has w or the bound of dual-clip (see `_clip_surrogate`).

    Source:
        Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO); Liu et al. 2025, arXiv:2503.20783
        (Dr. GRPO); Yu et al. 2025, arXiv:2503.14476 (DAPO, separate bounds).
    """
    return _clip_surrogate(inputs, inputs.log_ratio_N.exp(), inputs.weight_N)


def gspo(inputs: LossInputs) -> LossOutputs:
    """Compute the surrogate of `ppo_clip` with the geometric means of r and w in each sequence.

    A sequence is clipped as a whole, at bounds that are far narrower than those of token ratios,
    because the mean of many log ratios is close to 0. The rounding of a bfloat16 sampler spreads
    it by many times that width, so it must be in w and not in r. The paper has neither w nor
    dual-clip.

    Source:
        Zheng et al. 2025, arXiv:2507.18071 (GSPO), eq. 5-7.
    """
    sequences = (inputs.sequence_N, inputs.num_sequences)
    ratio_S = geometric_means(inputs.log_ratio_N, *sequences)
    to_sampler_N = clamped_log_ratio(inputs.old_logprobs_N, inputs.behavior_logprobs_N)
    weight_S = geometric_means(to_sampler_N, *sequences).clamp(max=inputs.importance_cap)
    return _clip_surrogate(inputs, ratio_S[inputs.sequence_N], weight_S[inputs.sequence_N])


def _clip_surrogate(inputs: LossInputs, ratio_N: Tensor, weight_N: Tensor) -> LossOutputs:
    """Compute `-w min(r A, clip(r) A)` for given r and w of shape (N,), with dual-clip.

    The minimum leaves a token with a negative advantage unbounded as r grows. Dual-clip bounds it:
    such a token counts with `max(min(r A, clip(r) A), dual_clip A)`.

    Source:
        Schulman et al. 2017, arXiv:1707.06347 (PPO); Ye et al. 2020, arXiv:1912.09729 (dual-clip).
    """
    advantages_N = inputs.advantages_N
    clipped_ratio_N = ratio_N.clamp(1 - inputs.clip_low, 1 + inputs.clip_high)
    plain_N, bounded_N = ratio_N * advantages_N, clipped_ratio_N * advantages_N
    gain_N, clipped_N = torch.minimum(plain_N, bounded_N), bounded_N < plain_N
    if inputs.dual_clip is not None:
        is_far_N = (advantages_N < 0) & (ratio_N > inputs.dual_clip)
        gain_N = torch.where(is_far_N, inputs.dual_clip * advantages_N, gain_N)
        clipped_N = clipped_N | is_far_N
    return LossOutputs(-weight_N * gain_N, clipped_N)


def cispo(inputs: LossInputs) -> LossOutputs:
    """Compute `-w sg(clip(r, 1 - low, 1 + high)) A log p`, where sg stops the gradient.

    A clipped ratio is a weight on the token's gradient, so that no token is dropped. The paper sets
    no lower bound, which is clip_low 1, and tunes the upper one; 2 is ours, and so is w.

    Source:
        MiniMax 2025, arXiv:2506.13585, eq. 4 (CISPO).
    """
    ratio_N = inputs.log_ratio_N.detach().exp()
    clipped_ratio_N = ratio_N.clamp(1 - inputs.clip_low, 1 + inputs.clip_high)
    return _weighted_likelihood(inputs, clipped_ratio_N, clipped_ratio_N != ratio_N)


def reinforce(inputs: LossInputs) -> LossOutputs:
    """Compute `-w sg(min(r, importance_cap)) A log p`, where sg stops the gradient.

    On fresh samples r is 1 and this is the plain policy gradient with the weight w. The paper is
    on-policy and has neither; with several passes or mini-batches, r w is the importance weight of
    the present policy against the sampler.

    Source:
        Williams 1992, 10.1007/BF00992696; w: see `truncated_weights`.
    """
    ratio_N = inputs.log_ratio_N.detach().exp()
    is_capped_N = ratio_N > inputs.importance_cap
    return _weighted_likelihood(inputs, ratio_N.clamp(max=inputs.importance_cap), is_capped_N)


def _weighted_likelihood(inputs: LossInputs, ratio_N: Tensor, clipped_N: Tensor) -> LossOutputs:
    """Compute `-w r A log p` for ratios r of shape (N,) without gradient."""
    weight_N = inputs.weight_N * ratio_N * inputs.advantages_N
    return LossOutputs(-weight_N * inputs.policy_logprobs_N, clipped_N)


def rft(inputs: LossInputs) -> LossOutputs:
    """Compute `-max(A, 0) log p`, which imitates good attempts and ignores both ratios.

    Attempts without a positive advantage take no part. With the advantages `best`, its default,
    this is supervised training on the best attempt of each group; with `mean` it is REINFORCE
    without the pushes away from bad attempts. The paper imitates every right answer that the first
    policy gives, with the duplicates removed, and trains once; here the best of each group is
    imitated, and the policy that samples is the one that is trained.

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
        denominator: divides the sum of the per-token losses (see denominators.py).
        clip_low, clip_high: see `LossInputs`.
        advantages: a name in `advantages.ADVANTAGES`.
        needs_positive: whether attempts without a positive advantage take no part: they are not run
            through the model, and the denominator does not count them.
    """

    function: LossFunction
    denominator: Denominator
    clip_low: float = 0.2
    clip_high: float = 0.28
    advantages: str = "mean"
    needs_positive: bool = False


LOSSES: dict[str, Loss] = {
    "grpo": Loss(ppo_clip, "sequences"),
    "dr_grpo": Loss(ppo_clip, "sequences_x_max_tokens"),
    "dapo": Loss(ppo_clip, "tokens"),
    "gspo": Loss(gspo, "sequences", 3e-4, 4e-4),
    "cispo": Loss(cispo, "tokens", 1.0, 1.0),
    "reinforce": Loss(reinforce, "tokens"),
    "rft": Loss(rft, "tokens", advantages="best", needs_positive=True),
}
