"""Divide the samples of a step into mini-batches, each of which makes one optimizer step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from podium_trainer.policy.packing import MicroBatch
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.denominators import Denominator, token_weights

AttemptSamples = list[Sample]  # more than one if the chat template rewrote earlier turns
GroupSamples = list[AttemptSamples]


@dataclass
class MiniBatch:
    """The samples of one optimizer step.

    Attributes:
        samples: with advantages.
        weights: the weight of one trained token of each sample, so that the weighted sum of all
            losses is the loss.
        old_logprobs: the logprobs (N,) of each micro-batch before the update's first step; empty
            until they are known.
    """

    samples: list[Sample]
    weights: list[float]
    old_logprobs: list[Tensor] = field(default_factory=list)


def split(
    groups: Sequence[GroupSamples], count: int, denominator: Denominator, max_tokens: int
) -> list[MiniBatch]:
    """Divide whole groups among mini-batches, because an advantage means nothing without the rest.

    All samples of an attempt share its weight in the loss: an attempt in two samples counts once.

    Args:
        groups: with advantages; fewer than `count` make fewer mini-batches.
        count: the number of mini-batches.
        denominator: divides the sum of the per-token losses.
        max_tokens: the largest number of sampled tokens in an attempt.

    Returns:
        The mini-batches that have a token to train on.
    """
    parts = [build_mini_batch(groups[n::count], denominator, max_tokens) for n in range(count)]
    return [part for part in parts if any(part.weights)]


def build_mini_batch(
    groups: Sequence[GroupSamples], denominator: Denominator, max_tokens: int
) -> MiniBatch:
    """Gather the samples of groups, and weigh their tokens."""
    attempts = [attempt for group in groups for attempt in group]
    counts = [sum(sample.num_loss_tokens for sample in attempt) for attempt in attempts]
    weights = token_weights(counts, denominator, max_tokens) if any(counts) else [0.0] * len(counts)
    pairs = zip(attempts, weights, strict=True)
    weighted = [(sample, weight) for attempt, weight in pairs for sample in attempt]
    return MiniBatch([sample for sample, _ in weighted], [weight for _, weight in weighted])


def pack(policy: Policy, part: MiniBatch, micro_batch_tokens: int) -> Iterator[MicroBatch]:
    """Pack a mini-batch into micro-batches that train a token; the same ones in every pass."""
    batches = policy.pack(part.samples, micro_batch_tokens)
    return (batch for batch in batches if len(batch.prediction_N))


def compute_logprobs(policy: Policy, part: MiniBatch, micro_batch_tokens: int) -> list[Tensor]:
    """Compute the logprobs (N,) of each micro-batch, without gradient."""
    with torch.no_grad(), policy.autocast():
        return [policy.logprobs(batch) for batch in pack(policy, part, micro_batch_tokens)]
