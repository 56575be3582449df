"""Paid judge calls about one group -> what each way of reading them makes of it.

All ways of a method read the same calls, so they differ in nothing else:

    named           the judge has to name one of two: the likelier letter wins whole
    probabilities   the probabilities of the letters, as `podium_service.prompts.forms` reads them
    one order       each pair is looked at in one order only, each slot as often
    both orders     and in the other, too

To add a way: write a function from calls and a seed to the calls that it looks at, and enter it in
`WAYS`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from podium_service.evaluation.measures import agreement
from podium_service.judges.limits import Passes
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.methods import METHODS, Situation
from podium_service.scoring.pair_design import choose_first_pairs

DRAWS = 20  # of the pairs looked at, where not all are


@dataclass(frozen=True, slots=True)
class Answer:
    """One question to the judge.

    Attributes:
        index: the service's number of it.
        verdict: what the service made of the reply.
        calls: made for it, useless ones included.
        tokens: of those calls, prompt and completion.
        said: whether the first reply by itself, its text alone, is a verdict.
    """

    index: int
    verdict: Verdict
    calls: int
    tokens: int
    said: bool


Answers = Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Way:
    """One row of the table.

    Attributes:
        judge: whose calls are read.
        looks: the calls that draw number n looks at.
        draws: how many draws there are to average.
        named: whether a choice counts whole.
    """

    judge: str
    looks: Callable[[Answers, int], Answers]
    draws: int = 1
    named: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What one way makes of one group, averaged over draws.

    Attributes:
        auc: chance that the truly better of two has the higher score; ties count half.
        tau_b: Kendall's, with the truth.
        right, compared: of the pairs looked at whose truth differs: how many the judge's choice
            gets right (half for a tie), before any fit; 0 of 0 for methods that compare no pairs.
        calls, tokens: per group.
        unsaid, replies: how many first replies' text alone is no verdict, of how many.
    """

    auc: float
    tau_b: float
    right: float
    compared: float
    calls: float
    tokens: float
    unsaid: float
    replies: float


def read(way: Way, answers: Answers, truth: Sequence[float]) -> Reading | None:
    """Read one group's calls.

    Args:
        truth: per trajectory; higher is better. Not all equal.

    Returns:
        None if the group was not ranked: it has no answers.
    """
    if not answers:
        return None
    draws = [_read_once(way, way.looks(answers, draw), truth) for draw in range(way.draws)]
    return Reading(*np.mean(draws, axis=0).tolist())


def _read_once(way: Way, looked: Answers, truth: Sequence[float]) -> list[float]:
    verdicts = {answer.index: _decided(way, answer) for answer in looked}
    size = len(truth)
    situation = Situation(size, 0, Passes(min=1, max=1), verdicts=verdicts)
    found = agreement(METHODS[way.judge].estimate(situation).means, truth)
    if found is None:
        raise ValueError("all trajectories are equally good: nothing can be right")
    right, compared = _pairs_right(list(verdicts.values()), truth)
    return [
        found.auc,
        found.tau_b,
        right,
        compared,
        sum(answer.calls for answer in looked),
        sum(answer.tokens for answer in looked),
        sum(not answer.said for answer in looked),
        len(looked),
    ]


def _decided(way: Way, answer: Answer) -> Verdict:
    """The verdict; as one whole win, loss or tie where the judge has to name one."""
    verdict = answer.verdict
    if not way.named:
        return verdict
    wins = float(np.sign(verdict.scores[0] - 0.5) + 1) / 2
    return Verdict(verdict.order, verdict.ids, [wins, 1 - wins], verdict.explanations)


def _pairs_right(verdicts: Sequence[Verdict], truth: Sequence[float]) -> tuple[float, float]:
    """How many pairs of different truth were decided right, of how many; orders averaged."""
    likely: dict[tuple[int, int], list[float]] = {}
    for verdict in verdicts:
        if len(verdict.order) != 2:
            return 0.0, 0.0
        (i, j), (wins, _) = verdict.order, verdict.scores
        if truth[i] > truth[j]:
            likely.setdefault((i, j), []).append(wins)
        elif truth[j] > truth[i]:
            likely.setdefault((j, i), []).append(1 - wins)
    means = [round(float(np.mean(each)), 9) for each in likely.values()]
    return float(sum(np.sign(mean - 0.5) + 1 for mean in means)) / 2, float(len(means))


# Which calls are looked at


def everything(answers: Answers, _draw: int) -> Answers:
    return answers


def single(answers: Answers, draw: int) -> Answers:
    """One call: each in its turn."""
    return [answers[draw % len(answers)]]


def first_round(answers: Answers, _draw: int) -> Answers:
    """Each trajectory's first rating."""
    size = len({answer.verdict.order[0] for answer in answers})
    return [answer for answer in answers if answer.index < size]


def one_order(answers: Answers, draw: int) -> Answers:
    """All pairs, in one order each; an odd draw looks at the other half of the even one's calls."""
    pairs = _dealt(answers, None, draw // 2)
    return _asked(answers, [pair[::-1] for pair in pairs] if draw % 2 else pairs)


def one_order_in_budget(answers: Answers, draw: int) -> Answers:
    """Pairs in one order, as many as `both_orders_in_budget` makes calls."""
    size = _size(answers)
    return _asked(answers, _dealt(answers, 2 * (size - 1), draw))


def both_orders_in_budget(answers: Answers, draw: int) -> Answers:
    """The fewest pairs that link all trajectories, in both orders."""
    pairs = _dealt(answers, _size(answers) - 1, draw)
    return _asked(answers, [*pairs, *(pair[::-1] for pair in pairs)])


def _size(answers: Answers) -> int:
    return 1 + max(max(answer.verdict.order) for answer in answers)


def _dealt(answers: Answers, count: int | None, seed: int) -> list[tuple[int, int]]:
    size = _size(answers)
    every = size * (size - 1) // 2
    return choose_first_pairs(size, every if count is None else min(count, every), seed)


def _asked(answers: Answers, orders: Sequence[tuple[int, int]]) -> Answers:
    by_order = {tuple(answer.verdict.order): answer for answer in answers}
    return [by_order[order] for order in orders]


def _ways() -> Iterator[tuple[str, Way]]:
    looks = {
        "one order": (one_order, DRAWS),
        "both orders": (everything, 1),
        "one order, in budget": (one_order_in_budget, DRAWS),
        "both orders, in budget": (both_orders_in_budget, DRAWS),
    }
    yield "listwise, 1 call", Way("listwise", single, draws=4)
    yield "listwise, 4 calls", Way("listwise", everything)
    yield "pointwise, 1 round", Way("pointwise", first_round)
    yield "pointwise, 2 rounds", Way("pointwise", everything)
    for name, (look, draws) in looks.items():
        yield f"pairwise named, {name}", Way("pairwise", look, draws, named=True)
        yield f"pairwise probabilities, {name}", Way("pairwise", look, draws)


WAYS: dict[str, Way] = dict(_ways())
# Those that take about as many tokens as four listwise calls.
EQUAL_TOKENS = ["listwise, 4 calls", "pointwise, 2 rounds"] + [
    name for name in WAYS if name.endswith("in budget")
]
