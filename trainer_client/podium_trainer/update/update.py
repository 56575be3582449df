"""Take optimizer steps on samples.

This module knows token streams, and nothing of judges, tasks or groups. A pass goes through all
samples once; a mini-batch is one optimizer step; a micro-batch is one call of the model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.packing import MicroBatch
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.denominators import token_weights
from podium_trainer.update.kl import k3, kl_penalty
from podium_trainer.update.loss import LOSSES, LossInputs
from podium_trainer.update.ratios import clamped_log_ratio, geometric_means


class UpdateError(Exception):
    """No step can be taken and no weight has changed; one line with the reason and the remedy."""


@dataclass(frozen=True)
class UpdateStats:
    """Numbers about one call of `update`, from its last pass.

    The distance of the sampler is that of the policy at the start of the update, whatever the
    number of steps.

    Attributes:
        loss: the loss that was differentiated, the mean over the mini-batches.
        grad_norm: the gradient's norm before clipping, the mean over the mini-batches.
        k3: mean estimate of KL(behavior, old) per token, in nats.
        effective_share: effective sample size of the weights old / behavior over the number of
            tokens, in (0, 1].
        max_ratio: the largest old / behavior of a token.
        capped_share: share of trained tokens whose old / behavior is above importance_cap.
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
    capped_share: float
    clipped_share: float
    masked_sequences: int
    ref_kl: float | None


@dataclass
class MiniBatch:
    """The samples of one optimizer step.

    Attributes:
        samples: with advantages.
        old_logprobs: the logprobs (N,) of each micro-batch before the update's first step; empty
            until they are known.
    """

    samples: list[Sample]
    old_logprobs: list[Tensor] = field(default_factory=list)


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
    parts = [MiniBatch(list(samples[part::mini_batches])) for part in range(mini_batches)]
    parts = [part for part in parts if any(sample.num_loss_tokens for sample in part.samples)]
    if not parts:
        raise UpdateError("no token to train on: no sample has a sampled token")
    for part in parts[1:]:  # those of the first come with its first pass, before any step
        part.old_logprobs = compute_logprobs(policy, part, micro_batch_tokens)
    for _ in range(passes):
        tally, grad_norms = Tally(), []
        for part in parts:
            accumulate(policy, part, config, max_completion_tokens, micro_batch_tokens, tally)
            grad_norms.append(take_step(policy, optimizer, max_grad_norm))
    tokens = tally.get("tokens")
    return UpdateStats(
        loss=tally.get("loss") / len(parts),
        grad_norm=sum(grad_norms) / len(parts),
        k3=tally.get("k3") / tokens,
        effective_share=tally.get("ratio") ** 2 / (tally.get("ratio_squared") * tokens),
        max_ratio=tally.max_ratio,
        capped_share=tally.get("capped") / tokens,
        clipped_share=tally.get("clipped") / tokens,
        masked_sequences=round(tally.get("masked")),
        ref_kl=tally.get("ref_kl") / tokens if config.kl != "none" else None,
    )


def pack(policy: Policy, part: MiniBatch, micro_batch_tokens: int) -> Iterator[MicroBatch]:
    """Pack a mini-batch into micro-batches that train a token; the same ones in every pass."""
    batches = policy.pack(part.samples, micro_batch_tokens)
    return (batch for batch in batches if len(batch.prediction_N))


def compute_logprobs(policy: Policy, part: MiniBatch, micro_batch_tokens: int) -> list[Tensor]:
    """Compute the logprobs (N,) of each micro-batch, without gradient."""
    with torch.no_grad(), policy.autocast():
        return [policy.logprobs(batch) for batch in pack(policy, part, micro_batch_tokens)]


def accumulate(
    policy: Policy,
    part: MiniBatch,
    config: LossConfig,
    max_completion_tokens: int,
    micro_batch_tokens: int,
    tally: Tally,
) -> None:
    """Add the gradient of one mini-batch's loss to the parameters, micro-batch by micro-batch.

    Old logprobs that the mini-batch lacks are those of this call.
    """
    weights = token_weights(
        [sample.num_loss_tokens for sample in part.samples],
        LOSSES[config.name].denominator,
        max_completion_tokens,
    )
    is_known = bool(part.old_logprobs)
    for number, batch in enumerate(pack(policy, part, micro_batch_tokens)):
        ref_logprobs_N = policy.ref_logprobs(batch) if config.kl != "none" else None
        with policy.autocast():
            policy_logprobs_N = policy.logprobs(batch)
        if not is_known:
            part.old_logprobs.append(policy_logprobs_N.detach())
        inputs = build_inputs(policy_logprobs_N, part.old_logprobs[number], batch, config)
        weight_S = torch.tensor([weights[i] for i in batch.samples], device=policy.device)
        loss = micro_batch_loss(inputs, weight_S, ref_logprobs_N, config, tally)
        loss.backward()  # type: ignore[no-untyped-call]


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
        raise UpdateError(
            f"the gradient's norm is {norm}: lower optimizer.lr or loss.importance_cap"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
