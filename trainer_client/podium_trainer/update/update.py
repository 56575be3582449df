"""Take optimizer steps on samples.

This module knows token streams, and nothing of judges or tasks. A pass goes through all samples
once; a mini-batch is one optimizer step; a micro-batch is one call of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from podium_trainer.config import LossConfig, TrainConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import FailedTogether
from podium_trainer.policy.ranks.shard import whole
from podium_trainer.update.batch_loss import Tally, build_inputs, micro_batch_loss
from podium_trainer.update.denominators import trained_share
from podium_trainer.update.learning_rate import learning_rate
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.mini_batch import (
    GroupSamples,
    MiniBatch,
    compute_logprobs,
    pack,
    split,
)


class UpdateError(FailedTogether):
    """No step can be taken and no weight has changed; one line with the reason and the remedy."""


class UpdateSkipped(UpdateError):
    """A step failed, and the rest of the update was left out.

    Attributes:
        num_steps: the number of optimizer steps before it, which changed the weights.
    """

    num_steps = 0


@dataclass(frozen=True)
class UpdateStats:
    """Numbers about one call of `update`, from its last pass.

    The distance of the sampler is that of the policy at the start of the update, whatever the
    number of steps.

    Attributes:
        loss: the loss that was differentiated, the mean over the mini-batches; tied groups that
            refills did not replace count as 0.
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


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[GroupSamples],
    config: LossConfig,
    *,
    max_completion_tokens: int,
    micro_batch_tokens: int,
    max_grad_norm: float,
    passes: int = 1,
    mini_batches: int = 1,
    lr: float | None = None,
    share: float = 1.0,
) -> UpdateStats:
    """Take `passes` x `mini_batches` optimizer steps on the samples of groups.

    All ranks call it at once with the same samples, of which each trains its share.

    Args:
        policy: the model to train.
        optimizer: holds `policy.parameters()`.
        groups: for each group and attempt in it the samples, with advantages; fewer groups than
            `mini_batches` make fewer steps.
        config: the loss.
        max_completion_tokens: the largest number of sampled tokens in a trajectory.
        micro_batch_tokens: the largest number of tokens in the model at once; changes memory only.
        max_grad_norm: the norm that gradients are clipped to.
        passes: the number of passes through the samples.
        mini_batches: the number of optimizer steps in a pass.
        lr: the learning rate; None leaves the optimizer its own.
        share: multiplies the loss; `trained_share` of a step whose groups partly have no signal.

    Raises:
        UpdateError: If no token is to be trained on.
        UpdateSkipped: If a gradient is not finite, or the device has no memory left.
        torch.OutOfMemoryError: If it has none and there are other ranks, which then cannot go on.
    """
    for group in optimizer.param_groups if lr is not None else ():
        group["lr"] = lr
    denominator = LOSSES[config.name].denominator
    parts = split(groups, mini_batches, denominator, max_completion_tokens, share)
    if not parts:
        raise UpdateError("no token to train on: no sample has a sampled token")
    grad_norms: list[float] = []
    try:
        for part in parts[1:]:  # those of the first come with its first pass, before any step
            part.old_logprobs = compute_logprobs(policy, part, micro_batch_tokens)
        for _ in range(passes):
            tally = Tally()
            for part in parts:
                accumulate(policy, part, config, micro_batch_tokens, tally)
                grad_norms.append(take_step(policy, optimizer, max_grad_norm))
    except (UpdateSkipped, torch.OutOfMemoryError) as error:
        optimizer.zero_grad(set_to_none=True)
        if policy.ranks.are_many and isinstance(error, torch.OutOfMemoryError):
            raise
        raise skipped(error, len(grad_norms)) from error
    total = Tally()
    total.merge(policy.ranks.gather(tally))
    return build_stats(total, grad_norms[-len(parts) :], config)


def update_settings(
    config: TrainConfig, max_turns: int, step: int, *, kept: int, ranked: int
) -> dict[str, Any]:
    """Return the settings of `update` in a step of a run.

    Args:
        config: the run's settings.
        max_turns: the task's.
        step: counted from 1.
        kept: how many groups of the step have signal.
        ranked: how many of them could be ranked.
    """
    optimizer = config.optimizer
    return {
        "max_completion_tokens": config.sampler.max_tokens * max_turns,
        "micro_batch_tokens": optimizer.micro_batch_tokens,
        "max_grad_norm": optimizer.max_grad_norm,
        "passes": optimizer.passes,
        "mini_batches": optimizer.mini_batches,
        "lr": learning_rate(optimizer, step, config.steps),
        "share": trained_share(kept, ranked, config.rollout.prompts_per_step),
    }


def skipped(error: UpdateSkipped | torch.OutOfMemoryError, num_steps: int) -> UpdateSkipped:
    """Return the error of an update that ends after so many steps."""
    words = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        words = (
            f"the update ran out of memory ({words.partition('.')[0]}): lower"
            " optimizer.micro_batch_tokens, or set model.gradient_checkpointing"
        )
    result = UpdateSkipped(words)
    result.num_steps = num_steps
    return result


def build_stats(tally: Tally, grad_norms: Sequence[float], config: LossConfig) -> UpdateStats:
    """Make the numbers of an update from the sums and the gradients of its last pass."""
    tokens = tally.get("tokens")
    return UpdateStats(
        loss=tally.get("loss") / len(grad_norms),
        grad_norm=sum(grad_norms) / len(grad_norms),
        k3=tally.get("k3") / tokens,
        effective_share=tally.get("ratio") ** 2 / (tally.get("ratio_squared") * tokens),
        max_ratio=tally.max_ratio,
        capped_share=tally.get("capped") / tokens,
        clipped_share=tally.get("clipped") / tokens,
        masked_sequences=round(tally.get("masked")),
        ref_kl=tally.get("ref_kl") / tokens if config.kl != "none" else None,
    )


def accumulate(
    policy: Policy,
    part: MiniBatch,
    config: LossConfig,
    micro_batch_tokens: int,
    tally: Tally,
) -> None:
    """Add the gradient of one mini-batch's loss to the parameters, micro-batch by micro-batch.

    Old logprobs that the mini-batch lacks are those of this call.
    """
    is_known = bool(part.old_logprobs)
    for number, batch in enumerate(pack(policy, part, micro_batch_tokens)):
        ref_logprobs_N = policy.ref_logprobs(batch) if config.kl != "none" else None
        with policy.autocast():
            policy_logprobs_N = policy.logprobs(batch)
        if not is_known:
            part.old_logprobs.append(policy_logprobs_N.detach())
        inputs = build_inputs(policy_logprobs_N, part.old_logprobs[number], batch, config)
        weights = [part.weights[i] for i in batch.samples] or [0.0]
        weight_S = torch.tensor(weights, device=policy.device)
        counted = tally if batch.samples else Tally()
        loss = micro_batch_loss(inputs, weight_S, ref_logprobs_N, config, counted)
        loss.backward()  # type: ignore[no-untyped-call]  # not typed in torch


def take_step(policy: Policy, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """Clip the gradient, take a step and clear the gradient.

    Returns:
        The gradient's norm before clipping.

    Raises:
        UpdateSkipped: If the gradient is not finite; the weights are then untouched.
    """
    parameters = policy.parameters()
    total = whole(get_total_norm([p.grad for p in parameters if p.grad is not None]))
    norm = float(total)
    if not norm < float("inf"):
        optimizer.zero_grad(set_to_none=True)
        raise UpdateSkipped(
            f"the gradient's norm is {norm}: lower optimizer.lr or loss.importance_cap"
        )
    clip_grads_with_norm_(parameters, max_grad_norm, total)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
