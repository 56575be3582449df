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


def trained_share(kept: int, ranked: int, wanted: int) -> float:
    """Compute what the loss of a step is multiplied by when groups without signal left it.

    Groups whose rewards are all equal are not trained on, and replaced as far as refills go. Each
    that is missing then counts as if it were in the step with advantages of 0. Without this a step
    with one group of eight would push as hard as a full one: late in a run, when most groups are
    tied, single groups would undo what was learnt. Groups that could not be ranked tell nothing
    about the share, and do not count.

    Args:
        kept: how many groups of the step have signal, at least 1.
        ranked: how many could be ranked, those of refills included; at least `kept`.
        wanted: how many groups a step is to have, at least `kept`.

    Returns:
        A number in (0, 1].

    Source:
        With refills that fill every step it is 1, as in Yu et al. 2025, arXiv:2503.14476 (DAPO);
        without refills it is GRPO's mean over all groups.
    """
    return kept / min(ranked, wanted)
