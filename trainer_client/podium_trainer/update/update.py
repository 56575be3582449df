"""Samples in, new weights out. Knows token streams, and nothing of judges, tasks or groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.packing import MicroBatch
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.loss import (
    LOSSES,
    LossInputs,
    k3,
    kl_penalty,
    sequence_means,
    token_weights,
)


class UpdateError(Exception):
    """No step can be taken; one line that says why and what to do. The weights are untouched."""


@dataclass(frozen=True)
class UpdateStats:
    """What one call of `update` did, over its last pass through the samples.

    Attributes:
        loss: the loss that was differentiated, the mean over the mini-batches.
        grad_norm: before clipping, likewise.
        k3: mean estimate of KL(behavior, policy) per token over the first pass; before any step,
            if there is one mini-batch.
        effective_share: effective sample size of the importance weights over the number of tokens,
            in (0, 1]; over the first pass, as is max_ratio.
        max_ratio: the largest policy / behavior ratio of a token.
        clipped_share: share of trained tokens whose gradient the clip took away.
        masked_sequences: sequences left out because their mean ratio was out of bounds.
        ref_kl: mean k3 estimate of KL(policy, reference); None without a reference.
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
    """Sums over micro-batches, in float64."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.max_ratio = 0.0

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), dtype=torch.float64)) + (
                value.detach().cpu().double()
            )

    def get(self, name: str) -> float:
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

    Raises:
        UpdateError: If no token is to be trained on, or the gradient is not finite.
    """
    parts = [list(samples[part::mini_batches]) for part in range(mini_batches)]
    parts = [part for part in parts if any(sample.num_loss_tokens for sample in part)]
    if not parts:
        raise UpdateError("no token to train on")
    first: Tally | None = None
    for _ in range(passes):
        tally, grad_norms = Tally(), []
        for part in parts:
            accumulate(policy, part, config, max_completion_tokens, micro_batch_tokens, tally)
            grad_norms.append(take_step(policy, optimizer, max_grad_norm))
        first = first or tally
    assert first is not None
    tokens = first.get("tokens")
    return UpdateStats(
        loss=tally.get("loss") / len(parts),
        grad_norm=sum(grad_norms) / len(parts),
        k3=first.get("k3") / tokens,
        effective_share=first.get("ratio") ** 2 / (first.get("ratio_squared") * tokens),
        max_ratio=first.max_ratio,
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
    """Add the gradient of the loss over all samples, micro-batch by micro-batch."""
    weights = token_weights(
        [sample.num_loss_tokens for sample in samples],
        LOSSES[config.name].denominator,
        max_completion_tokens,
    )
    for batch in policy.pack(samples, micro_batch_tokens):
        if len(batch.prediction_N) == 0:
            continue
        ref_N = policy.ref_logprobs(batch) if config.kl != "none" else None
        with policy.autocast():
            policy_N = policy.logprobs(batch)
        weight_S = torch.tensor([weights[i] for i in batch.samples], device=policy.device)
        loss = weighted_loss(policy_N, batch, weight_S, ref_N, config, tally)
        loss.backward()  # type: ignore[no-untyped-call]


def weighted_loss(
    policy_N: Tensor,
    batch: MicroBatch,
    weight_S: Tensor,
    ref_N: Tensor | None,
    config: LossConfig,
    tally: Tally,
) -> Tensor:
    """This micro-batch's share of the loss."""
    loss = LOSSES[config.name]
    inputs = LossInputs(
        policy_N,
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
    if ref_N is not None and config.kl != "none":
        loss_N = loss_N + config.kl_coef * kl_penalty(policy_N, ref_N, config.kl)
        tally.add(ref_kl=k3(policy_N, ref_N).sum())
    kept_S = sequences_in_bounds(inputs, config.sequence_ratio_bounds)
    total = (loss_N * weight_S[batch.sequence_N] * kept_S[batch.sequence_N]).sum()
    ratio_N = inputs.ratio_N.detach()
    tally.max_ratio = max(tally.max_ratio, float(ratio_N.max()))
    tally.add(
        loss=total,
        tokens=torch.tensor(len(ratio_N)),
        k3=k3(batch.behavior_logprobs_N, policy_N).sum(),
        ratio=ratio_N.sum(),
        ratio_squared=ratio_N.square().sum(),
        clipped=outputs.clipped_N.sum(),
        masked=(~kept_S).sum(),
    )
    return total


def sequences_in_bounds(inputs: LossInputs, bounds: tuple[float, float] | None) -> Tensor:
    """Which sequences' geometric mean ratio lies within the bounds; bool (num_sequences,)."""
    if bounds is None:
        return torch.ones(inputs.num_sequences, dtype=torch.bool, device=inputs.sequence_N.device)
    log_ratio_N = (inputs.policy_logprobs_N - inputs.behavior_logprobs_N).detach()
    mean_S = sequence_means(log_ratio_N, inputs.sequence_N, inputs.num_sequences).exp()
    return (mean_S >= bounds[0]) & (mean_S <= bounds[1])


def take_step(policy: Policy, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """Clip the gradient, step, forget the gradient; returns its norm before clipping.

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
