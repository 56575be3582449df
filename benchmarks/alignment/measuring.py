"""One set and one judge -> what every arm's advantages are worth, and what RULER's are.

A half of the set is ranked by a judge that is new, and the other half after it ("warmed up"); then
the halves change places. So every group is ranked by a new judge and by a known one. Each
repetition is another noise of the judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np

from benchmarks.alignment.arms import RULER_ADVANTAGES, Arm
from benchmarks.alignment.asking import Answered, ask_arm
from benchmarks.alignment.cosine import (
    Alignment,
    Array,
    align,
    at_tokens,
    group_sums,
    ratio_of,
)
from benchmarks.alignment.ruler import Ruler, mean_scores
from benchmarks.alignment.sets import GroupSet
from benchmarks.content import Labelled
from benchmarks.ranking.report import Row
from podium_service.scoring.bootstrap import Measure

PARTS = ("new", "warmed up")
RULINGS_SHOWN = (2, 4, 8)
Answers = list[list[Answered]]  # by repetition and group


class Endpoints(Protocol):
    """Where judges answer."""

    @property
    def repetitions(self) -> int:
        """How many noises of the judge there are."""

    @property
    def folds(self) -> int:
        """In how many orders the halves of a set are ranked, 1 or 2."""

    @property
    def rulings(self) -> int:
        """How often RULER is asked about a group."""

    def judge(self, name: str, arm: Arm, repetition: int) -> dict[str, Any]:
        """An arm's judge as a judges file has it."""

    def ruler(self, of: str, repetition: int) -> Ruler:
        """RULER with the same judge, about the set of this name."""


@dataclass(frozen=True)
class Entry:
    """What one arm returned in one part.

    Attributes:
        groups: that it was about, of all of the set.
        answers: by repetition, in the order of `groups`.
    """

    groups: list[Labelled]
    answers: Answers

    def align(self, scheme: str) -> Alignment:
        return align(
            np.array([
                [
                    group_sums(answer.rewards, group.truth, scheme)
                    for answer, group in zip(answers, self.groups, strict=True)
                ]
                for answers in self.answers
            ])
        )  # fmt: skip

    @property
    def tokens(self) -> float:
        """Judge tokens per group."""
        return fmean(each.tokens for answers in self.answers for each in answers)

    @property
    def calls(self) -> float:
        """Judge calls per group."""
        return fmean(each.calls for answers in self.answers for each in answers)


async def ask_in_parts(
    name: str, arm: Arm, of: GroupSet, endpoints: Endpoints, folder: Path
) -> dict[str, Entry]:
    """What an arm returns, by part."""
    by_part: dict[str, Answers] = {part: [] for part in PARTS}
    for repetition in range(endpoints.repetitions):
        judge = endpoints.judge(name, arm, repetition)
        found: dict[str, list[list[Answered]]] = {part: [] for part in PARTS}
        for fold in range(endpoints.folds):
            halves = of.halves if fold == 0 else of.halves[::-1]
            store = folder / of.name / name.replace(", ", "-") / f"{repetition}-{fold}"
            for part, answers in zip(PARTS, await ask_arm(judge, halves, store), strict=True):
                found[part].append(answers)
        for part, answers_by_fold in found.items():
            by_part[part].append([each for answers in answers_by_fold for each in answers])
    return {part: Entry(groups_of(part, of, endpoints.folds), by_part[part]) for part in PARTS}


def groups_of(part: str, of: GroupSet, folds: int) -> list[Labelled]:
    """The groups of a part, in the order in which the folds rank them."""
    first, second = of.halves if part == PARTS[0] else of.halves[::-1]
    return [*first, *second][: len(first) if folds == 1 else None]


async def rule_in_parts(of: GroupSet, endpoints: Endpoints) -> list[dict[str, Entry]]:
    """What RULER returns by the number of its calls, which are averaged, and by part."""
    every = [*of.halves[0], *of.halves[1]]
    answers: list[Answers] = [[] for _ in range(endpoints.rulings)]
    for repetition in range(endpoints.repetitions):
        ruler = endpoints.ruler(of.name, repetition)
        asked = [
            await ruler.rule([group.group for group in every], repeat)
            for repeat in range(endpoints.rulings)
        ]
        by_group = list(zip(*asked, strict=True))
        for num, each in enumerate(answers, start=1):
            each.append([
                Answered(mean_scores(ruled[:num]), sum(one.tokens for one in ruled[:num]), num)
                for ruled in by_group
            ])  # fmt: skip
    return [_in_parts(each, of, endpoints.folds) for each in answers]


def _in_parts(answers: Answers, of: GroupSet, folds: int) -> dict[str, Entry]:
    size = len(of.halves[0])
    found = {}
    for part in PARTS:
        turned = [each if part == PARTS[0] else each[size:] + each[:size] for each in answers]
        groups = groups_of(part, of, folds)
        found[part] = Entry(groups, [each[: len(groups)] for each in turned])
    return found


@dataclass(frozen=True)
class Baseline:
    """RULER in one part: the better of its two advantages, by the number of calls.

    Attributes:
        spent_M: tokens per group of 1, 2, ... M calls.
        values_M: squared cosines, (M,).
        squared_MR: the same for each resample, (M, R).
    """

    scheme: str
    spent_M: list[float]
    values_M: Array
    squared_MR: Array

    def at(self, tokens: float) -> tuple[float, Array]:
        """The squared cosine for so many tokens, and that of each resample."""
        value = at_tokens(tokens, self.spent_M, self.values_M)
        return float(value), at_tokens(tokens, self.spent_M, self.squared_MR)

    def per_token(self, tokens: float) -> tuple[float, Array]:
        """What one call's squared cosine would be if it grew with the tokens."""
        share = tokens / self.spent_M[0]
        return float(share * self.values_M[0]), share * self.squared_MR[0]


def baseline(entries: Sequence[Entry]) -> Baseline:
    """RULER with the advantages that suit it better at one call."""
    aligned = {
        scheme: [entry.align(scheme) for entry in entries] for scheme in RULER_ADVANTAGES
    }  # fmt: skip
    scheme = max(aligned, key=lambda each: aligned[each][0].squared.value or 0.0)
    return Baseline(
        scheme,
        [entry.tokens for entry in entries],
        np.array([each.squared.value for each in aligned[scheme]]),
        np.array([each.squared_R for each in aligned[scheme]]),
    )


def row(name: str, part: str, entry: Entry, scheme: str, against: Baseline) -> dict[str, Any]:
    """One arm with one scheme of advantages in one part."""
    found = entry.align(scheme)
    thousands, value = entry.tokens / 1000, found.squared.value or 0.0
    return {
        "arm": name,
        "judge": part,
        "advantages": scheme,
        "cosine": found.cosine,
        "squared": found.squared,
        "tokens": entry.tokens,
        "calls": entry.calls,
        "squared per 1k tokens": value / thousands if thousands else None,
        "squared per call": value / entry.calls if entry.calls else None,
        "per token / RULER": _against(found, *against.per_token(entry.tokens)),
        "equal tokens / RULER": _against(found, *against.at(entry.tokens)),
    }


def _against(found: Alignment, value: float, squared_R: Array) -> Measure:
    ours = found.squared.value or 0.0
    ratio = ours / value if value > 0 else float("nan")
    return ratio_of(found.squared_R, squared_R, ratio, found.squared.groups)


def rows_of(
    arms: Mapping[str, Arm],
    entries: Mapping[str, Mapping[str, Entry]],
    ruled: Sequence[Mapping[str, Entry]],
) -> list[Row]:
    """All rows of one set: RULER by advantages and calls, then the arms."""
    rows: list[Row] = []
    for part in PARTS[::-1]:
        by_calls = [each[part] for each in ruled]
        against = baseline(by_calls)
        named = [("RULER", by_calls[0], scheme) for scheme in RULER_ADVANTAGES]
        named += [
            (f"RULER, mean of {num}", by_calls[num - 1], against.scheme)
            for num in RULINGS_SHOWN
            if num <= len(by_calls)
        ]
        named += [
            (name, entries[name][part], scheme)
            for name, arm in arms.items()
            for scheme in arm.advantages
        ]
        rows += [row(name, part, entry, scheme, against) for name, entry, scheme in named]
    return rows
