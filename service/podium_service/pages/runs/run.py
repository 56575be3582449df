"""The pages of runs: the list of them, and one run step by step, beside another one if asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from podium.integrations.outcome import ANCHOR_ID
from podium_service.pages import numbers
from podium_service.pages.figures import Series, lines, scatter
from podium_service.pages.frame import Frame, render
from podium_service.schemas.history import (
    RankingSummary,
    RunDetail,
    RunPage,
    RunPrompt,
    RunStep,
)

Value = Callable[[RunStep], float | None]
MAX_STEPS = 100  # in the table
MAX_CODES = 4  # as many as there are colours of lines


@dataclass(frozen=True)
class Headline:
    """One number about a run as a whole; `note` says what it is a number of."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure over steps, with what it tells; `keys` name its lines where these are no runs."""

    title: str
    note: str
    figure: Markup
    keys: Sequence[str] = ()


def win_rate_of(step: RunStep) -> float | None:
    """Return the win rate of a step, which alone has a standard error."""
    return step.win_rate


# title, what to look for, the value of a step, and the least and greatest value of the axis.
CHARTS: tuple[tuple[str, str, Value, float | None, float | None], ...] = (
    ("Win rate", "share of pairs won against the baseline, with its standard error; .5 is as good",
     win_rate_of, 0.0, 1.0),
    ("Score", "mean of the judge's scores; it may rise because the judge is fooled",
     lambda step: step.mean_score, None, None),
    ("Verified", "mean of the verified rewards, which no judge sees",
     lambda step: step.verified, 0.0, 1.0),
    ("Reliability", "share of the differences between scores that is signal",
     lambda step: step.reliability, 0.0, 1.0),
    ("Groups with signal", "share of groups whose rewards differ: the others teach nothing",
     lambda step: step.with_signal, 0.0, 1.0),
    ("Ties", "mean share of a group's pairs with equal rewards",
     lambda step: step.ties, 0.0, 1.0),
    ("Length", "characters that the policy wrote per attempt",
     lambda step: step.mean_length, 0.0, None),
    ("Cut off", "share of attempts that ended for lack of tokens",
     lambda step: step.truncated, 0.0, 1.0),
    ("Flagged", "share of groups with an attempt that addresses the judge, or fails a gate",
     lambda step: step.flagged, 0.0, 1.0),
    ("Seconds per group", "mean time until the answer",
     lambda step: step.latency_s, 0.0, None),
)  # fmt: skip


def render_runs(frame: Frame, page: RunPage, *, cursor: str | None = None, curl: str = "") -> str:
    """Return the list of runs, the last active one first."""
    next_url = frame.url("/ui/runs", cursor=page.next) if page.next else ""
    return render("runs", frame, page=page, next_url=next_url, cursor=cursor, curl=curl)


def render_run(
    frame: Frame,
    run: RunDetail,
    *,
    other: RunDetail | None = None,
    others: Sequence[str] = (),
    groups: Sequence[RankingSummary] = (),
    prompts: Sequence[RunPrompt] = (),
) -> str:
    """Return the page of one run.

    Args:
        other: a run to draw over it.
        others: names of runs to choose from.
        groups: the last groups of the run, for rewards against lengths.
        prompts: those that the run was given most often.
    """
    return render(
        "run",
        frame,
        run=run,
        summary=run.summary,
        headlines=summarize(run),
        charts=draw_charts(frame, run, other),
        failures=count_failures(run),
        other=other,
        others=[each for each in others if each != run.summary.run],
        fooled=plot_lengths(frame, groups),
        last_first=run.steps[::-1],
        max_steps=MAX_STEPS,
        has_win_rate=any(step.win_rate is not None for step in run.steps),
        prompts=[each for each in prompts if each.groups > 1],
    )


def summarize(run: RunDetail) -> list[Headline]:
    """Return the numbers that come first."""
    first, last = _ends(run, lambda step: step.mean_score)
    known = [step for step in run.steps if step.with_signal is not None]
    recent = known[-10:]
    ranked = sum(step.ranked for step in recent)
    signal = sum((step.with_signal or 0.0) * step.ranked for step in recent)
    cost = run.summary.cost_usd
    gained = None if first is None or last is None else last - first
    total = run.summary.groups
    return [
        *head_win_rate(run),
        Headline("Score", numbers.fixed(last, 3),
                 "" if gained is None else f"{numbers.signed(gained)} since the start"),
        Headline("Groups", numbers.count(total), f"{numbers.count(len(run.steps))} steps"),
        Headline("Failed", numbers.count(run.summary.failed),
                 numbers.percent(run.summary.failed / total if total else None)),
        Headline("With signal", numbers.percent(signal / ranked if ranked else None),
                 "of the last 10 steps"),
        Headline("Cost so far", numbers.money(cost), project_cost(run)),
        Headline("Tokens", numbers.count(run.summary.tokens), "of the judge"),
    ]  # fmt: skip


def head_win_rate(run: RunDetail) -> list[Headline]:
    """Return the win rate of the last step that has one; nothing for a run without."""
    measured = [step for step in run.steps if step.win_rate is not None]
    if not measured:
        return []
    last = measured[-1]
    spread = f"± {numbers.fixed(last.win_rate_stderr, 3)} " if last.win_rate_stderr else ""
    at = "" if last.step is None else f", at step {last.step}"
    return [Headline("Win rate", numbers.fixed(last.win_rate, 3), f"{spread}against the start{at}")]


def project_cost(run: RunDetail) -> str:
    """Return what a step costs and what all will, if the run says how many it is to have."""
    cost, planned = run.summary.cost_usd, run.summary.planned_steps
    if cost is None or not run.steps:
        return ""
    per_step = cost / len(run.steps)
    if planned and planned >= len(run.steps):
        return f"of about {numbers.money(per_step * planned)} in {numbers.count(planned)} steps"
    return f"{numbers.money(per_step)} a step, {numbers.money(100 * per_step)} per 100"


def draw_charts(frame: Frame, run: RunDetail, other: RunDetail | None) -> list[Chart]:
    """Return a chart per measure that has values."""
    runs = [run, *([other] if other else [])]
    charts = [
        Chart(title, note, lines(title, [_series(frame, each, value) for each in runs],
                                 low=low, high=high))
        for title, note, value, low, high in CHARTS
        if any(value(step) is not None for step in run.steps)
    ]  # fmt: skip
    if run.summary.cost_usd is not None:
        spent = [_spending(each) for each in runs]
        charts.append(Chart("Cost", "US dollars so far", lines("Cost", spent, low=0.0)))
    if failures := count_failures(run):
        codes = [code for code, _ in failures[:MAX_CODES]]
        series = [_failing(frame, run, code) for code in codes]
        note = "groups that were not ranked: " + ", ".join(codes)
        charts.append(Chart("Failures by code", note, lines("Failures", series, low=0.0), codes))
    return charts


def count_failures(run: RunDetail) -> list[tuple[str, int]]:
    """Return how many groups failed by code, the most frequent first."""
    totals: dict[str, int] = {}
    for step in run.steps:
        for code, number in step.failures.items():
            totals[code] = totals.get(code, 0) + number
    return sorted(totals.items(), key=lambda each: -each[1])


def plot_lengths(frame: Frame, groups: Sequence[RankingSummary]) -> Markup | None:
    """Plot rewards against lengths; None unless some groups have both."""
    points = [
        (float(length), reward, group.ask, each)
        for group in groups
        if group.rewards and group.lengths
        for each, length, reward in zip(group.ids, group.lengths, group.rewards, strict=False)
        if each != ANCHOR_ID  # the policy did not write it
    ]
    if len(points) < 2:
        return None
    series = Series(
        "reward",
        [(length, reward) for length, reward, _, _ in points],
        link=lambda index: frame.ranking(points[index][2]),
        title=lambda index: f"{points[index][3]}: {numbers.fixed(points[index][1])}",
    )
    return scatter("Reward against length", [series], "characters")


def _series(frame: Frame, run: RunDetail, value: Value) -> Series:
    name, steps = run.summary.run, _numbered(run)
    points = [(at, value(step)) for at, step in steps]

    def say(index: int) -> str:
        at, y = points[index]
        return f"{name}, step {at:g}: {numbers.fixed(y, 3)}"

    return Series(
        name,
        points,
        link=lambda index: frame.url("/ui", run=name, step=steps[index][1].step),
        title=say,
        errors=[step.win_rate_stderr for _, step in steps] if value is win_rate_of else (),
    )


def _failing(frame: Frame, run: RunDetail, code: str) -> Series:
    name, steps = run.summary.run, _numbered(run)
    points = [(at, float(step.failures.get(code, 0))) for at, step in steps]
    return Series(
        code,
        points,
        link=lambda index: frame.url("/ui", run=name, step=steps[index][1].step, code=code),
        title=lambda index: "{}, step {:g}: {:.0f}".format(code, *points[index]),
    )


def _spending(run: RunDetail) -> Series:
    steps = _numbered(run)
    totals = accumulate(step.cost_usd or 0.0 for _, step in steps)
    return Series(
        run.summary.run, [(at, spent) for (at, _), spent in zip(steps, totals, strict=True)]
    )


def _numbered(run: RunDetail) -> list[tuple[float, RunStep]]:
    """Return the steps with their numbers; a run without numbers has one point."""
    known = [(float(step.step), step) for step in run.steps if step.step is not None]
    return known or [(float(at), step) for at, step in enumerate(run.steps)]


def _ends(run: RunDetail, value: Value) -> tuple[float | None, float | None]:
    """Return the first and the last value; the last is the mean of up to five steps."""
    known = [found for step in run.steps if (found := value(step)) is not None]
    if not known:
        return None, None
    recent = known[-5:]
    return known[0], sum(recent) / len(recent)
