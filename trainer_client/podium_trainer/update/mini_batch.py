"""Divide the samples of a step into mini-batches, each of which makes one optimizer step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from podium_trainer.policy.packing import MicroBatch
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.share_out import share_out
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
    groups: Sequence[GroupSamples],
    count: int,
    denominator: Denominator,
    max_tokens: int,
    share: float = 1.0,
) -> list[MiniBatch]:
    """Divide whole groups among mini-batches, because an advantage means nothing without the rest.

    All samples of an attempt share its weight in the loss: an attempt in two samples counts once.

    Args:
        groups: with advantages; fewer than `count` make fewer mini-batches.
        count: the number of mini-batches.
        denominator: divides the sum of the per-token losses.
        max_tokens: the largest number of sampled tokens in an attempt.
        share: multiplies all weights.

    Returns:
        The mini-batches that have a token to train on.
    """
    parts = [
        build_mini_batch(groups[n::count], denominator, max_tokens, share) for n in range(count)
    ]
    return [part for part in parts if any(part.weights)]


def build_mini_batch(
    groups: Sequence[GroupSamples], denominator: Denominator, max_tokens: int, share: float = 1.0
) -> MiniBatch:
    """Gather the samples of groups, and weigh their tokens."""
    attempts = [attempt for group in groups for attempt in group]
    counts = [sum(sample.num_loss_tokens for sample in attempt) for attempt in attempts]
    weights = token_weights(counts, denominator, max_tokens) if any(counts) else [0.0] * len(counts)
    pairs = zip(attempts, weights, strict=True)
    weighted = [(sample, share * weight) for attempt, weight in pairs for sample in attempt]
    return MiniBatch([sample for sample, _ in weighted], [weight for _, weight in weighted])


def pack(policy: Policy, part: MiniBatch, micro_batch_tokens: int) -> Iterator[MicroBatch]:
    """Pack a mini-batch into the micro-batches of this rank; the same ones in every pass.

    All ranks get as many. Where one has none left, or one without a token to train, it gets a
    dummy: a micro-batch of two tokens with no samples, which counts for nothing.
    """
    ranks = policy.ranks
    builds = list(policy.plan(part.samples, micro_batch_tokens))
    for build in share_out(builds, ranks.rank, ranks.size):
        batch = None if build is None else build().to(policy.device)
        if batch is not None and len(batch.prediction_N):
            yield batch
        elif ranks.are_many:
            yield build_dummy(policy, part.samples[0])


def build_dummy(policy: Policy, sample: Sample) -> MicroBatch:
    """Build a micro-batch of the first two tokens of a sample, with no samples."""
    first = Sample(sample.token_ids[:2], [False, True], [0.0] * 2, [0.0] * 2, [-1] * 2)
    [batch] = policy.pack([first], 2)
    return replace(batch, samples=[])


def compute_logprobs(policy: Policy, part: MiniBatch, micro_batch_tokens: int) -> list[Tensor]:
    """Compute the logprobs (N,) of each micro-batch, without gradient."""
    with torch.no_grad(), policy.autocast():
        return [policy.logprobs(batch) for batch in pack(policy, part, micro_batch_tokens)]
