"""Weigh the tokens of an optimizer step, so that the sum of their losses is the loss."""

from typing import Literal

Denominator = Literal["tokens", "sequences", "sequences_x_max_tokens"]


def token_weights(
    tokens_per_attempt: list[int], denominator: Denominator, max_tokens: int
) -> list[float]:
    """Compute the weight of one token of each attempt, so that the weighted sum is the loss.

    Args:
        tokens_per_attempt: the number of trained tokens of every attempt of the optimizer step;
            attempts without any do not count.
        denominator: divides the sum of the per-token losses; "sequences" first takes the mean over
            each attempt's tokens.
        max_tokens: the largest number of sampled tokens in an attempt.

    Source:
        Liu et al. 2025, arXiv:2503.20783, compares the three.
    """
    tokens = sum(tokens_per_attempt)
    sequences = sum(count > 0 for count in tokens_per_attempt)
    if denominator == "tokens":
        return [1 / tokens if count else 0.0 for count in tokens_per_attempt]
    if denominator == "sequences":
        return [1 / (sequences * count) if count else 0.0 for count in tokens_per_attempt]
    return [1 / (sequences * max_tokens) if count else 0.0 for count in tokens_per_attempt]
