"""Show what it would cost to have a group judged again, and what came of it beside the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from markupsafe import Markup

from podium_service.pages.operation.compare import tau_b
from podium_service.ranking.kinds.estimate import Cost, CostRange
from podium_service.schemas import Ranking, TrajectoryResult
from podium_service.schemas.history import RankingDetail, RankingSummary

_WIDTH, _HEIGHT, _MARGIN = 168, 18, 6
_ROUNDING = 1e-9
_LEEWAY = 1.1


@dataclass(frozen=True)
class Choice:
    """The way in which a person wants a group judged; `rubric` is the text of the field."""

    judge: str
    flip_order: bool
    rubric: str


@dataclass(frozen=True)
class Price:
    """The price of a choice.

    Attributes:
        is_stored: whether the store has the answer, so that no judge is asked.
        note: where the price of a token comes from.
    """

    choice: Choice
    cost: CostRange
    is_stored: bool
    note: str

    @property
    def most(self) -> Cost:
        return self.cost.most

    @property
    def is_free(self) -> bool:
        return self.is_stored or not self.most.calls

    @property
    def seal(self) -> str:
        """A short form of what a person has seen: the choice, the tokens and the dollars."""
        return f"{_digest(self.choice)}:{self._tokens}:{self._usd:.9f}"

    def is_as_seen(self, seal: str) -> bool:
        """Return whether the same choice was seen, at a price that is much the same.

        Ids and fences are random, so that two estimates of one choice differ by some tokens.
        """
        choice, _, price = seal.partition(":")
        tokens, _, usd = price.partition(":")
        try:
            seen = float(tokens), float(usd)
        except ValueError:
            return False
        is_dearer = self._tokens > _LEEWAY * seen[0] or self._usd > _LEEWAY * seen[1]
        return choice == _digest(self.choice) and not is_dearer

    @property
    def _tokens(self) -> int:
        return 0 if self.is_free else self.most.prompt_tokens + self.most.completion_tokens

    @property
    def _usd(self) -> float:
        return 0.0 if self.is_free else self.most.usd or 0.0


@dataclass(frozen=True)
class Change:
    """One attempt in both rankings.

    Attributes:
        before, after: reward minus the mean of the group.
        turns: whether the two have opposite signs, so that a trainer would do the opposite.
    """

    id: str
    first: TrajectoryResult
    second: TrajectoryResult
    before: float
    after: float

    @property
    def turns(self) -> bool:
        return min(abs(self.before), abs(self.after)) > _ROUNDING and self.before * self.after < 0


@dataclass(frozen=True)
class Comparison:
    """A ranking beside the one that it judges again; `tau` is None where both tie all attempts."""

    first: RankingSummary
    second: RankingSummary
    tau: float | None
    changes: list[Change]

    @property
    def num_turned(self) -> int:
        return sum(each.turns for each in self.changes)


@dataclass(frozen=True)
class Judged:
    """One line of the list of later judgments; `tau` also where none is shown beside."""

    summary: RankingSummary
    is_rubric_new: bool
    tau: float | None
    num_turned: int | None


@dataclass(frozen=True)
class Again:
    """The contents of the section on judging again.

    Attributes:
        first: the ask that this page's ranking judges again; None if it is a first one itself.
        judged: what came of judging this page's group again, newest first.
        beside: the one that is shown beside the first.
        judges: the names to choose from; empty where nobody may act.
        choice: what the form shows.
        price: what the choice costs, once it was asked for.
        is_priced_anew: whether that differs from what a person had seen and sent.
        refusal: why this group cannot be judged again; "" if it can.
        problem: why the last attempt failed; "" if it did not.
    """

    first: RankingSummary | None = None
    judged: Sequence[Judged] = ()
    beside: Comparison | None = None
    judges: Sequence[str] = ()
    choice: Choice = Choice("", flip_order=False, rubric="")
    price: Price | None = None
    refusal: str = ""
    problem: str = ""
    is_priced_anew: bool = False


def compare_rankings(first: RankingDetail, second: RankingDetail) -> Comparison | None:
    """Return two rankings of one group side by side, the best of the first on top.

    None unless both ranked the same attempts.
    """
    if not first.ranking or not second.ranking:
        return None
    before, after = _advantages(first.ranking), _advantages(second.ranking)
    if set(before) != set(after):
        return None
    results = {each.id: each for each in second.ranking.results}
    changes = [
        Change(each.id, each, results[each.id], before[each.id], after[each.id])
        for each in sorted(first.ranking.results, key=lambda each: each.rank)
    ]
    rewards = [(each.first.reward, each.second.reward) for each in changes]
    tau = tau_b([a for a, _ in rewards], [b for _, b in rewards])
    return Comparison(first.summary, second.summary, tau, changes)


def list_judged(
    first: RankingSummary, others: Sequence[tuple[RankingSummary, bool]]
) -> list[Judged]:
    """Return a line for each later judgment of a group, given whether its texts differ."""
    return [_judged(first, *each) for each in others]


def dumbbell(before: float, after: float, middle: float) -> Markup:
    """Return a reward before, hollow, and after, full, on a line from 0 to 1 with a mean on it."""
    start, end, mean = (_x(value) for value in (before, after, middle))
    y = _HEIGHT / 2
    return Markup(
        '<svg class="dumbbell" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" '
        'aria-label="reward {a:.3f}, then {b:.3f}">'
        '<line class="axis" x1="{m}" x2="{r}" y1="{y}" y2="{y}"/>'
        '<line class="tick" x1="{x}" x2="{x}" y1="3" y2="{t}"/>'
        '<line class="bar" x1="{s}" x2="{e}" y1="{y}" y2="{y}"/>'
        '<circle class="hollow" cx="{s}" cy="{y}" r="4"/>'
        '<circle class="dot" cx="{e}" cy="{y}" r="4.5"/></svg>'
    ).format(
        w=_WIDTH, h=_HEIGHT, a=before, b=after, m=_MARGIN, r=_WIDTH - _MARGIN, y=y,
        x=mean, t=_HEIGHT - 3, s=start, e=end,
    )  # fmt: skip


def _judged(first: RankingSummary, second: RankingSummary, is_rubric_new: bool) -> Judged:
    if not first.rewards or not second.rewards or len(first.rewards) != len(second.rewards):
        return Judged(second, is_rubric_new, None, None)
    signs = [
        (a - sum(first.rewards) / len(first.rewards), b - sum(second.rewards) / len(second.rewards))
        for a, b in zip(first.rewards, second.rewards, strict=True)
    ]
    turned = sum(min(abs(a), abs(b)) > _ROUNDING and a * b < 0 for a, b in signs)
    return Judged(second, is_rubric_new, tau_b(first.rewards, second.rewards), turned)


def _digest(choice: Choice) -> str:
    return sha256(repr(choice).encode(errors="replace")).hexdigest()[:16]


def _advantages(ranking: Ranking) -> dict[str, float]:
    mean = sum(each.reward for each in ranking.results) / max(1, len(ranking.results))
    return {each.id: each.reward - mean for each in ranking.results}


def _x(value: float) -> float:
    return round(_MARGIN + min(1.0, max(0.0, value)) * (_WIDTH - 2 * _MARGIN), 1)
