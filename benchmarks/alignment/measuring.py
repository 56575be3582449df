"""One set and one judge -> what every arm and RULER answer about each group.

A half of the set is ranked by a judge that is new, and the other half after it ("warmed up"); then
the halves change places. So every group is ranked by a new judge and by a known one. Each
repetition is another noise of the judge.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np

from benchmarks.alignment.arms import Arm
from benchmarks.alignment.asking import Answered, ask_arm
from benchmarks.alignment.cosine import Alignment, align, group_sums
from benchmarks.alignment.ruler import Ruled, Ruler, is_single, mean_scores, without_repeats
from benchmarks.alignment.sets import GroupSet
from benchmarks.content import Labelled

PARTS = ("new", "warmed up")
Answers = list[list[Answered]]  # by repetition and group


class Endpoints(Protocol):
    """Addresses at which judges answer."""

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
        """Return an arm's judge as a judges file has it."""

    def ruler(self, of: str, repetition: int) -> Ruler:
        """Return RULER with the same judge, about the set of this name."""


@dataclass(frozen=True)
class Entry:
    """Hold what one arm returned in one part.

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
    """Return what an arm returns, by part."""
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
    """Return the groups of a part, in the order in which the folds rank them."""
    first, second = of.halves if part == PARTS[0] else of.halves[::-1]
    return [*first, *second][: len(first) if folds == 1 else None]


async def rule_in_parts(of: GroupSet, endpoints: Endpoints) -> list[dict[str, Entry]]:
    """Return RULER's rewards by the number of its averaged calls, and by part."""
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


async def rule_without_repeats(of: GroupSet, endpoints: Endpoints) -> dict[str, Entry]:
    """Return RULER's rewards if a trainer showed it equal answers once, by part."""
    every = [group.group for half in of.halves for group in half]
    answers: Answers = []
    for repetition in range(endpoints.repetitions):
        ruler = endpoints.ruler(f"{of.name}-once", repetition)
        asked = [without_repeats(group) for group in every if not is_single(group)]
        ruled = iter(await ruler.rule([group for group, _ in asked], 0))
        places = iter(place for _, place in asked)
        answers.append([
            Answered([], 0, 0) if is_single(group) else _spread(next(ruled), next(places))
            for group in every
        ])  # fmt: skip
    return _in_parts(answers, of, endpoints.folds)


def _spread(ruled: Ruled, places: list[int]) -> Answered:
    """Return the scores of distinct trajectories, given to all that are equal to them."""
    scores = [ruled.scores[place] for place in places] if ruled.scores else []
    return Answered(scores, ruled.tokens, 1)


def _in_parts(answers: Answers, of: GroupSet, folds: int) -> dict[str, Entry]:
    size = len(of.halves[0])
    found = {}
    for part in PARTS:
        turned = [each if part == PARTS[0] else each[size:] + each[:size] for each in answers]
        groups = groups_of(part, of, folds)
        found[part] = Entry(groups, [each[: len(groups)] for each in turned])
    return found
