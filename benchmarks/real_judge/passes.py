"""The same replies, read by fewer or more passes -> what each further pass brings."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from benchmarks.content import Labelled
from benchmarks.ranking.report import Report, Row
from benchmarks.real_judge.asking import Answered, Readings, unlike_orders
from benchmarks.real_judge.rows import difference, judge_pairs
from podium_service.scoring.bootstrap import Array, Bootstrap, Measure

_LEAST_SIGNAL = 0.01  # of tau: less is a coin, and what is divided by it says nothing


def compare_passes(
    report: Report, name: str, readings: Mapping[str, Readings], groups: Sequence[Labelled]
) -> None:
    """Compare the passes of each way whose passes can be read one after the other; one table."""
    rows: list[Row] = []
    for way, by_passes in readings.items():
        unlike = readings.get(unlike_orders(way), {})
        if 1 in by_passes and len(by_passes) > 1:
            counts = sorted(by_passes)
            for fewer, more in pairwise(counts):
                pair = by_passes[more], by_passes[fewer]
                rows.append(_row(way, f"passes {more}", f"passes {fewer}", *pair, groups))
        if unlike:
            pair = unlike[2], by_passes[2]
            rows.append(_row(way, "orders 1 and 3", "an order and its reverse", *pair, groups))
    if rows:
        report.table(f"{name}: what passes bring", rows)


def _row(
    way: str,
    ours: str,
    theirs: str,
    our_answers: Sequence[Answered],
    their_answers: Sequence[Answered],
    groups: Sequence[Labelled],
) -> Row:
    return {
        "question": way,
        "of": ours,
        "against": theirs,
        "AUC gained": difference(our_answers, their_answers, groups[: len(our_answers)]),
        "squared tau per token": signal_ratio(our_answers, their_answers, groups),
    }


def signal_ratio(
    ours: Sequence[Answered], theirs: Sequence[Answered], groups: Sequence[Labelled]
) -> Measure:
    """Return how many times as much squared tau a token of ours buys, on the same groups.

    Tau is twice what an AUC has above a half; its square grows with passes as information does.
    """

    def divide(sums: Array) -> Array:
        our_signal, their_signal, pairs, our_tokens, their_tokens = np.moveaxis(sums, -1, 0)
        least = np.maximum(their_signal / pairs, _LEAST_SIGNAL)
        per_token = (our_signal / pairs) ** 2 / our_tokens
        return np.asarray(per_token * their_tokens / least**2)

    terms = []
    for our, their, group in zip(ours, theirs, groups, strict=False):
        signals = [_signal(each, group.truth) for each in (our, their)]
        tokens = [each.prompt_tokens + each.completion_tokens for each in (our, their)]
        terms.append(np.array([*signals, judge_pairs(our, group.truth)[2], *tokens]))
    return Bootstrap(len(terms)).measure(terms, divide, "no group has a pair of different truth")


def _signal(answered: Answered, truth: Sequence[float]) -> float:
    """Return the pairs in their right order less those in the wrong one."""
    right, tied, every = judge_pairs(answered, truth)
    return 2 * right + tied - every
