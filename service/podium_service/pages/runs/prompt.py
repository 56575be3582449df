"""The page of one prompt over the steps of a run: what its best and its worst attempts became."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from podium_service.pages.figures import Series, lines
from podium_service.pages.frame import Frame, render
from podium_service.pages.numbers import fixed
from podium_service.pages.texts.conversation import Message, content_text
from podium_service.schemas.history import RankingDetail, RankingSummary

_EXCERPT_CHARS = 400

Value = Callable[[RankingSummary], float | None]


@dataclass(frozen=True)
class Excerpt:
    """The beginning of an attempt's last words; `text` is None where texts are not kept."""

    id: str
    reward: float
    text: str | None


@dataclass(frozen=True)
class Shown:
    """One group at the prompt with its best and its worst attempt, which failed groups lack."""

    summary: RankingSummary
    best: Excerpt | None
    worst: Excerpt | None

    @property
    def spread(self) -> float | None:
        return spread_of(self.summary)


def render_prompt(
    frame: Frame,
    run: str,
    prompt_id: str,
    groups: Sequence[RankingSummary],
    shown: Sequence[RankingDetail],
    *,
    next_url: str = "",
    first_url: str = "",
) -> str:
    """Return the page of a prompt.

    Args:
        groups: what is drawn, newest first.
        shown: what is listed, newest first.
        next_url, first_url: where the list goes on, and where it begins; "" if it does not.
    """
    return render(
        "prompt",
        frame,
        run=run,
        prompt_id=prompt_id,
        prompt=next((each.prompt for each in groups if each.prompt), None),
        num_groups=len(groups),
        charts=draw_charts(frame, groups),
        rows=[show(each) for each in shown],
        next_url=next_url,
        first_url=first_url,
    )


def draw_charts(frame: Frame, groups: Sequence[RankingSummary]) -> list[tuple[str, str, Markup]]:
    """Return title, note and figure of each measure that some group has."""
    measures: tuple[tuple[str, str, Value, float | None], ...] = (
        ("Score", "mean of the judge's scores", lambda each: each.mean_score, None),
        ("Spread", "greatest less least reward; 0 teaches nothing", spread_of, 1.0),
        ("Verified", "mean of the verified rewards", lambda each: each.verified, 1.0),
        ("Win rate", "share of pairs won against the baseline", lambda each: each.win_rate, 1.0),
        ("Length", "characters that the policy wrote per attempt", _length, None),
    )
    ordered = sorted(groups, key=lambda each: (each.step or 0, each.at))
    return [
        (title, note, lines(title, [_series(frame, ordered, title, value)], low=0.0, high=high))
        for title, note, value, high in measures
        if any(value(each) is not None for each in ordered)
    ]


def spread_of(group: RankingSummary) -> float | None:
    """Return the greatest less the least reward of a group; None if it failed."""
    return max(group.rewards) - min(group.rewards) if group.rewards else None


def show(detail: RankingDetail) -> Shown:
    """Return a group with the attempts that earned most and least."""
    if not detail.ranking or not detail.ranking.results:
        return Shown(detail.summary, None, None)
    trajectories = detail.request.trajectories if detail.request else []
    sent = {each.id: each.messages for each in trajectories}
    results = sorted(detail.ranking.results, key=lambda each: each.reward)
    worst, best = (
        Excerpt(each.id, each.reward, last_words(sent[each.id]) if each.id in sent else None)
        for each in (results[0], results[-1])
    )
    return Shown(detail.summary, best, worst)


def last_words(messages: Sequence[Message]) -> str:
    """Return how the last text of the policy begins."""
    texts = (
        content_text(each.get("content")) for each in reversed(messages)
        if each.get("role") == "assistant"
    )  # fmt: skip
    text = next((text for text in texts if text.strip()), "").strip()
    return text if len(text) <= _EXCERPT_CHARS else f"{text[:_EXCERPT_CHARS]}…"


def _length(group: RankingSummary) -> float | None:
    return sum(group.lengths) / len(group.lengths) if group.lengths else None


def _series(frame: Frame, groups: Sequence[RankingSummary], name: str, value: Value) -> Series:
    """Draw the groups that have a value; a group without a step stands at its place in time."""
    placed = [
        (float(place if each.step is None else each.step), y, each)
        for place, each in enumerate(groups)
        if (y := value(each)) is not None
    ]
    return Series(
        name,
        [(x, y) for x, y, _ in placed],
        link=lambda index: frame.ranking(placed[index][2].ask),
        title=lambda index: f"step {placed[index][0]:g}: {fixed(placed[index][1], 3)}",
    )
