"""What ways and direct questions answered -> the rows of a table, and whether the aim is met.

A group without a verdict counts as one whose attempts all tie.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from benchmarks.content import Labelled
from benchmarks.ranking.report import Report, Row
from benchmarks.real_judge.asking import Answered, Readings
from benchmarks.real_judge.ways import DEFAULT
from podium_service.scoring.bootstrap import Array, Bootstrap, Measure

MOST_BEHIND, MOST_TOKENS = 0.03, 1.2


def rows_of(
    readings: Mapping[str, Readings], groups: Sequence[Labelled], seconds: Mapping[str, float]
) -> list[Row]:
    """Return a row a question and number of passes; a question may be about the first groups.

    Args:
        seconds: that all groups took, by question; missing where it was not measured.
    """
    return [
        _row(name, num, max(by_passes), answers, groups, seconds.get(name))
        for name, by_passes in readings.items()
        for num, answers in sorted(by_passes.items())
    ]


def _row(
    name: str,
    num: int,
    passes: int,
    answers: Sequence[Answered],
    groups: Sequence[Labelled],
    seconds: float | None,
) -> Row:
    draw = Bootstrap(len(answers))
    asked = zip(answers, groups, strict=False)
    judged = [judge_pairs(each, group.truth) for each, group in asked]
    replies = sum(each.replies for each in answers)
    return {
        "question": name,
        "passes": num,
        "groups": len(answers),
        "AUC": draw.ratio([(right + tied / 2, all_) for right, tied, all_ in judged], ""),
        "pairs right": draw.ratio([(right, all_) for right, _, all_ in judged], ""),
        "prompt tokens": fmean(each.prompt_tokens for each in answers),
        "completion tokens": fmean(each.completion_tokens for each in answers),
        "seconds": None if seconds is None else seconds / len(answers) * num / passes,
        "no verdict": sum(each.useless for each in answers) / max(1, replies),
    }


def judge_pairs(answered: Answered, truth: Sequence[float]) -> tuple[float, float, float]:
    """Count the pairs of different truth: those in the right order, ties, and all."""
    values = answered.values or [0.0] * len(truth)
    i, j = np.triu_indices(len(truth), k=1)
    true_signs = np.sign(np.subtract(*np.asarray(truth)[[i, j]]))
    signs = np.sign(np.subtract(*np.asarray(values)[[i, j]]))
    differ = true_signs != 0
    right = float((signs == true_signs)[differ].sum())
    return right, float((signs == 0)[differ].sum()), float(differ.sum())


def compare_with_direct(
    report: Report, name: str, readings: Mapping[str, Readings], groups: Sequence[Labelled]
) -> None:
    """Say how far the default is behind the direct question with the highest AUC.

    Of the default, the most passes count that cost no more than that question times 1.2; if none
    do, one pass.
    """
    direct = {
        f"{question}, {num}": answers
        for question, by_passes in readings.items()
        if question.startswith("direct")
        for num, answers in by_passes.items()
    }
    if not direct or DEFAULT not in readings:
        return
    best = max(direct, key=lambda each: _auc(direct[each], groups))
    ratios = {
        num: _tokens(answers) / _tokens(direct[best]) for num, answers in readings[DEFAULT].items()
    }
    fitting = [num for num, ratio in ratios.items() if ratio <= MOST_TOKENS]
    num = max(fitting, default=min(ratios))
    gap = difference(readings[DEFAULT][num], direct[best], groups)
    what = f"{name}: AUC of {DEFAULT}, passes {num}, less that of {best}"
    report.target(what, gap, least=-MOST_BEHIND)
    report.target(f"{name}: its tokens against that one's", ratios[num], most=MOST_TOKENS)


def difference(
    ours: Sequence[Answered], theirs: Sequence[Answered], groups: Sequence[Labelled]
) -> Measure:
    """Return the difference of two AUCs on the same groups."""

    def subtract(sums: Array) -> Array:
        return np.asarray((sums[..., 0] - sums[..., 1]) / sums[..., 2])

    terms = [
        np.array([*(_half_ties(each, group.truth) for each in pair), _num_pairs(group.truth)])
        for *pair, group in zip(ours, theirs, groups, strict=True)
    ]
    return Bootstrap(len(groups)).measure(terms, subtract, "")


def _half_ties(answered: Answered, truth: Sequence[float]) -> float:
    right, tied, _ = judge_pairs(answered, truth)
    return right + tied / 2


def _num_pairs(truth: Sequence[float]) -> float:
    return judge_pairs(Answered([]), truth)[2]


def _auc(answers: Sequence[Answered], groups: Sequence[Labelled]) -> float:
    pairs = list(zip(answers, groups, strict=True))
    right = sum(_half_ties(each, group.truth) for each, group in pairs)
    return right / sum(_num_pairs(group.truth) for _, group in pairs)


def _tokens(answers: Sequence[Answered]) -> float:
    return fmean(each.prompt_tokens + each.completion_tokens for each in answers)
