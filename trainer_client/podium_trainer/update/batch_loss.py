"""Compute a micro-batch's share of the loss of an optimizer step, and count what it was made of."""

from collections.abc import Iterable

import torch
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.packing import MicroBatch
from podium_trainer.update.kl import k3, kl_penalty
from podium_trainer.update.loss import LOSSES, LossInputs
from podium_trainer.update.ratios import clamped_log_ratio, geometric_means


class Tally:
    """Sums over the micro-batches of one pass, in float64."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.max_ratio = 0.0

    def add(self, **values: Tensor) -> None:
        """Add scalar tensors to the sums of their names."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), dtype=torch.float64)) + (
                value.detach().cpu().double()
            )

    def merge(self, others: Iterable["Tally"]) -> None:
        """Add what others have summed up."""
        for other in others:
            self.add(**other.sums)
            self.max_ratio = max(self.max_ratio, other.max_ratio)

    def get(self, name: str) -> float:
        """Return a sum, 0 if nothing was added to it."""
        return float(self.sums.get(name, torch.zeros(())))


def build_inputs(
    policy_logprobs_N: Tensor, old_logprobs_N: Tensor, batch: MicroBatch, config: LossConfig
) -> LossInputs:
    """Gather what a loss needs to know of a micro-batch."""
    loss = LOSSES[config.name]
    return LossInputs(
        policy_logprobs_N,
        old_logprobs_N,
        batch.behavior_logprobs_N,
        batch.advantages_N,
        batch.sequence_N,
        batch.num_sequences,
        loss.clip_low if config.clip_low is None else config.clip_low,
        loss.clip_high if config.clip_high is None else config.clip_high,
        config.dual_clip,
        config.importance_cap,
    )


def micro_batch_loss(
    inputs: LossInputs,
    weight_S: Tensor,
    ref_logprobs_N: Tensor | None,
    config: LossConfig,
    tally: Tally,
) -> Tensor:
    """Compute one micro-batch's share of the loss, and add its statistics to the tally.

    Args:
        inputs: the micro-batch.
        weight_S: float32, the weight of one token of each sequence (see denominators.py).
        ref_logprobs_N: the reference's logprobs; None without a KL penalty.
        config: the loss.
        tally: the pass's sums.

    Returns:
        Scalar tensor with gradient.
    """
    outputs = LOSSES[config.name].function(inputs)
    loss_N = outputs.loss_N
    if ref_logprobs_N is not None and config.kl != "none":
        penalty_N = kl_penalty(inputs.policy_logprobs_N, ref_logprobs_N, config.kl)
        loss_N = loss_N + config.kl_coef * penalty_N
        tally.add(ref_kl=k3(inputs.policy_logprobs_N, ref_logprobs_N).sum())
    in_bounds_S = find_sequences_in_bounds(inputs, config.sequence_ratio_bounds)
    total = (loss_N * (weight_S * in_bounds_S)[inputs.sequence_N]).sum()
    ratio_N = clamped_log_ratio(inputs.old_logprobs_N, inputs.behavior_logprobs_N).exp()
    tally.max_ratio = max(tally.max_ratio, float(ratio_N.max()))
    tally.add(
        loss=total,
        tokens=torch.tensor(len(ratio_N)),
        k3=k3(inputs.behavior_logprobs_N, inputs.old_logprobs_N).sum(),
        ratio=ratio_N.sum(),
        ratio_squared=ratio_N.square().sum(),
        capped=(ratio_N > config.importance_cap).sum(),
        clipped=outputs.clipped_N.sum(),
        masked=(~in_bounds_S).sum(),
    )
    return total


def find_sequences_in_bounds(inputs: LossInputs, bounds: tuple[float, float] | None) -> Tensor:
    """Find the sequences whose geometric mean of old / behavior lies within the bounds.

    Returns:
        Bool tensor of shape (num_sequences,); all True without bounds.
    """
    if bounds is None:
        return torch.ones(inputs.num_sequences, dtype=torch.bool, device=inputs.sequence_N.device)
    log_ratio_N = clamped_log_ratio(inputs.old_logprobs_N, inputs.behavior_logprobs_N)
    mean_S = geometric_means(log_ratio_N, inputs.sequence_N, inputs.num_sequences)
    return (mean_S >= bounds[0]) & (mean_S <= bounds[1])
