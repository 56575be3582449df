"""Take optimizer steps on samples.

This module knows token streams, and nothing of judges, tasks or groups. A pass goes through all
samples once; a mini-batch is one optimizer step; a micro-batch is one call of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.packing import MicroBatch
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.kl import k3, kl_penalty
from podium_trainer.update.loss import LOSSES, LossInputs, sequence_means, token_weights


class UpdateError(Exception):
    """No step can be taken and no weight has changed; one line with the reason and the remedy."""


@dataclass(frozen=True)
class UpdateStats:
    """Numbers about one call of `update`, from its last pass unless said otherwise.

    Attributes:
        loss: the loss that was differentiated, the mean over the mini-batches.
        grad_norm: the gradient's norm before clipping, the mean over the mini-batches.
        k3: mean estimate of KL(behavior, policy) per token, in nats, over the first pass; with one
            mini-batch that is before any step.
        effective_share: effective sample size of the importance weights over the number of tokens,
            in (0, 1], over the first pass.
        max_ratio: the largest policy / behavior ratio of a token, over the first pass.
        clipped_share: share of trained tokens that the loss clipped (see `LossOutputs`).
        masked_sequences: sequences without weight because their mean ratio was out of bounds.
        ref_kl: mean k3 estimate of KL(policy, reference) per token, in nats; None without a KL
            penalty.
    """

    loss: float
    grad_norm: float
    k3: float
    effective_share: float
    max_ratio: float
    clipped_share: float
    masked_sequences: int
    ref_kl: float | None


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

    def get(self, name: str) -> float:
        """Return a sum, 0 if nothing was added to it."""
        return float(self.sums.get(name, torch.zeros(())))


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    samples: Sequence[Sample],
    config: LossConfig,
    *,
    max_completion_tokens: int,
    micro_batch_tokens: int,
    max_grad_norm: float,
    passes: int = 1,
    mini_batches: int = 1,
) -> UpdateStats:
    """Take `passes` x `mini_batches` optimizer steps on the samples.

    Args:
        policy: the model to train.
        optimizer: holds `policy.parameters()`.
        samples: with advantages; fewer than `mini_batches` make fewer steps.
        config: the loss.
        max_completion_tokens: the largest number of sampled tokens in a trajectory.
        micro_batch_tokens: the largest number of tokens in the model at once; changes memory only.
        max_grad_norm: the norm that gradients are clipped to.
        passes: the number of passes through the samples.
        mini_batches: the number of optimizer steps in a pass.

    Raises:
        UpdateError: If no token is to be trained on, or the gradient is not finite.
    """
    parts = [list(samples[part::mini_batches]) for part in range(mini_batches)]
    parts = [part for part in parts if any(sample.num_loss_tokens for sample in part)]
    if not parts:
        raise UpdateError("no token to train on: no sample has a sampled token")
    first_tally: Tally | None = None
    for _ in range(passes):
        tally, grad_norms = Tally(), []
        for part in parts:
            accumulate(policy, part, config, max_completion_tokens, micro_batch_tokens, tally)
            grad_norms.append(take_step(policy, optimizer, max_grad_norm))
        first_tally = first_tally or tally
    assert first_tally is not None
    tokens = first_tally.get("tokens")
    return UpdateStats(
        loss=tally.get("loss") / len(parts),
        grad_norm=sum(grad_norms) / len(parts),
        k3=first_tally.get("k3") / tokens,
        effective_share=first_tally.get("ratio") ** 2 / (first_tally.get("ratio_squared") * tokens),
        max_ratio=first_tally.max_ratio,
        clipped_share=tally.get("clipped") / tokens,
        masked_sequences=round(tally.get("masked")),
        ref_kl=tally.get("ref_kl") / tokens if config.kl != "none" else None,
    )


def accumulate(
    policy: Policy,
    samples: list[Sample],
    config: LossConfig,
    max_completion_tokens: int,
    micro_batch_tokens: int,
    tally: Tally,
) -> None:
    """Add the gradient of one mini-batch's loss to the parameters, micro-batch by micro-batch."""
    weights = token_weights(
        [sample.num_loss_tokens for sample in samples],
        LOSSES[config.name].denominator,
        max_completion_tokens,
    )
    for batch in policy.pack(samples, micro_batch_tokens):
        if len(batch.prediction_N) == 0:
            continue
        ref_logprobs_N = policy.ref_logprobs(batch) if config.kl != "none" else None
        with policy.autocast():
            policy_logprobs_N = policy.logprobs(batch)
        weight_S = torch.tensor([weights[i] for i in batch.samples], device=policy.device)
        loss = micro_batch_loss(policy_logprobs_N, batch, weight_S, ref_logprobs_N, config, tally)
        loss.backward()  # type: ignore[no-untyped-call]


def micro_batch_loss(
    policy_logprobs_N: Tensor,
    batch: MicroBatch,
    weight_S: Tensor,
    ref_logprobs_N: Tensor | None,
    config: LossConfig,
    tally: Tally,
) -> Tensor:
    """Compute one micro-batch's share of the loss, and add its statistics to the tally.

    Args:
        policy_logprobs_N: float32 with gradient.
        batch: the micro-batch.
        weight_S: float32, the weight of one token of each sequence (see `token_weights`).
        ref_logprobs_N: the reference's logprobs; None without a KL penalty.
        config: the loss.
        tally: the pass's sums.

    Returns:
        Scalar tensor with gradient.
    """
    loss = LOSSES[config.name]
    inputs = LossInputs(
        policy_logprobs_N,
        batch.behavior_logprobs_N,
        batch.advantages_N,
        batch.sequence_N,
        batch.num_sequences,
        loss.clip_low if config.clip_low is None else config.clip_low,
        loss.clip_high if config.clip_high is None else config.clip_high,
        config.ratio_cap,
    )
    outputs = loss.function(inputs)
    loss_N = outputs.loss_N
    if ref_logprobs_N is not None and config.kl != "none":
        penalty_N = kl_penalty(policy_logprobs_N, ref_logprobs_N, config.kl)
        loss_N = loss_N + config.kl_coef * penalty_N
        tally.add(ref_kl=k3(policy_logprobs_N, ref_logprobs_N).sum())
    in_bounds_S = find_sequences_in_bounds(inputs, config.sequence_ratio_bounds)
    total = (loss_N * (weight_S * in_bounds_S)[batch.sequence_N]).sum()
    ratio_N = inputs.ratio_N.detach()
    tally.max_ratio = max(tally.max_ratio, float(ratio_N.max()))
    tally.add(
        loss=total,
        tokens=torch.tensor(len(ratio_N)),
        k3=k3(batch.behavior_logprobs_N, policy_logprobs_N).sum(),
        ratio=ratio_N.sum(),
        ratio_squared=ratio_N.square().sum(),
        clipped=outputs.clipped_N.sum(),
        masked=(~in_bounds_S).sum(),
    )
    return total


def find_sequences_in_bounds(inputs: LossInputs, bounds: tuple[float, float] | None) -> Tensor:
    """Find the sequences whose geometric mean ratio lies within the bounds.

    Returns:
        Bool tensor of shape (num_sequences,); all True without bounds.
    """
    if bounds is None:
        return torch.ones(inputs.num_sequences, dtype=torch.bool, device=inputs.sequence_N.device)
    log_ratio_N = (inputs.policy_logprobs_N - inputs.behavior_logprobs_N).detach()
    mean_S = sequence_means(log_ratio_N, inputs.sequence_N, inputs.num_sequences).exp()
    return (mean_S >= bounds[0]) & (mean_S <= bounds[1])


def take_step(policy: Policy, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """Clip the gradient, take a step and clear the gradient.

    Returns:
        The gradient's norm before clipping.

    Raises:
        UpdateError: If the gradient is not finite; the weights are then untouched.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), max_grad_norm))
    if not norm < float("inf"):
        optimizer.zero_grad(set_to_none=True)
        raise UpdateError(f"the gradient's norm is {norm}: lower optimizer.lr or loss.ratio_cap")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
