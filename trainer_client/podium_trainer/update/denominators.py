"""Weigh the tokens of an optimizer step, so that the sum of their losses is the loss."""

from typing import Literal

Denominator = Literal["tokens", "sequences", "sequences_x_max_tokens"]


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
