"""Render the history and the present phase of a run for a terminal."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import fields

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from podium_trainer.config import TrainConfig
from podium_trainer.display.history import History, series
from podium_trainer.display.text import (
    DASH,
    amount,
    cost,
    cut,
    duration,
    number,
    seconds,
    share,
    sparkline,
    visible,
)
from podium_trainer.gathering.activity import PARTS
from podium_trainer.records.rows.lost import LostMetrics

MAX_WIDTH = 120
LABEL = 10
PHASES = ("rollout", "rank", "update", "sync", "held_out")


def about(config: TrainConfig) -> list[str]:
    """Return two lines that name task, model, service and judge."""
    judge = config.service.judge or "the service's default"
    service_url = config.service.url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000"
    return [
        visible(f"task {config.task.name} · model {config.model.path}"),
        visible(f"service {service_url} · judge {judge}"),
    ]


def seconds_left(history: History, steps: int, running_s: float = 0.0) -> float | None:
    """Estimate the seconds to the end of the run from the recent steps.

    Args:
        history: the steps so far.
        steps: the number of steps of the run.
        running_s: seconds that the present step has taken.
    """
    per_step = history.seconds_per_step()
    left = steps - history.step
    if per_step is None or not left:
        return None
    return (left - 1) * per_step + max(0.0, per_step - running_s)


def frame(title: str, parts: Sequence[RenderableType], width: int) -> Panel:
    """Put all parts into one box."""
    return Panel(
        Group(*parts),
        title=Text(cut(visible(title), width - 8), style="bold"),
        title_align="left", border_style="dim", width=width,
    )  # fmt: skip


def bars(
    history: History, steps: int, phase: tuple[str, int, int], times: tuple[str, str]
) -> Table:
    """Render progress bars of the run and of its present phase.

    Args:
        history: the steps so far.
        steps: the number of steps of the run.
        phase: name, done, total; a total of 0 is unknown.
        times: texts behind the two bars.
    """
    name, done, total = phase
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=LABEL, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, min_width=9)
    table.add_column(ratio=1)
    table.add_column(width=11, justify="right", no_wrap=True)
    run_bar = ProgressBar(steps, history.step, complete_style="cyan", finished_style="green")
    table.add_row(Text("step", style="dim"), f"{history.step} of {steps}", run_bar, times[0])
    phase_bar = ProgressBar(total or 1, done, complete_style="cyan", finished_style="cyan")
    count = f"{done} of {total}" if total else ""
    table.add_row(Text(name, style="dim"), count, phase_bar if total else "", times[1])
    return table


def numbers(history: History, width: int) -> Table:
    """Render the metrics on the left, and the timings on the right."""
    left = (width * 3) // 5
    table = Table.grid(expand=True, padding=(0, 3, 0, 0))
    table.add_column(width=left)
    table.add_column(ratio=1)
    table.add_row(metrics_table(history, left - LABEL - 2), timings_table(history))
    return table


def metrics_table(history: History, room: int) -> Table:
    """Render rewards, scores, groups and the update; a value is at most `room` wide."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=LABEL, style="dim", no_wrap=True)
    table.add_column(width=room, no_wrap=True, overflow="ellipsis")
    rewards, scores = history.values("reward_mean"), history.values("held_out")
    wins = history.values("win_rate")
    table.add_row("reward", reward(history))
    table.add_row("", Text(sparkline(rewards, room) or DASH, style="cyan"))
    if wins:
        table.add_row("win rate", win_rate(history))
        table.add_row("", Text(sparkline(wins, room), style="yellow"))
    if scores or not wins:
        table.add_row("held out", held_out(scores))
        table.add_row("", Text(sparkline(scores, room) or DASH, style="green"))
    table.add_row("groups", groups(history))
    tokens = number(history.now("completion_tokens"), 1)
    truncated = share(history.now("truncated_share"))
    table.add_row("length", f"{tokens} tokens · {truncated} truncated")
    table.add_row("judge", judge(history))
    k3, ratio = number(history.now("k3"), 4), number(history.now("max_ratio"), 2)
    table.add_row("update", f"k3 {k3} · max ratio {ratio}")
    clipped, norm = share(history.now("clipped_share"), 1), number(history.now("grad_norm"), 2)
    table.add_row("", f"clipped {clipped} · grad norm {norm}")
    return table


def reward(history: History) -> Text:
    spread = number(history.now("reward_std"))
    mean = Text(number(history.now("reward_mean")), style="bold")
    return mean.append(f" ± {spread}", style="not bold")


def held_out(scores: Sequence[float]) -> Text:
    if not scores:
        return Text(DASH)
    last = Text(number(scores[-1]), style="bold")
    rest = f" · best {number(max(scores))} · first {number(scores[0])}"
    return last.append(rest, style="not bold")


def win_rate(history: History) -> Text:
    """Describe the last win rate, with its standard error; failures stand out."""
    step, rate = series(history.metrics, "win_rate")[-1]
    stderr, prompts, failed = (
        dict(series(history.metrics, f"win_rate_{name}")).get(step)
        for name in ("stderr", "prompts", "failed")
    )
    text = Text(number(rate), style="bold")
    count = f"{prompts:.0f} prompt{'s' * (prompts != 1)}"
    text.append(f" ± {number(stderr)} · {count}", style="not bold")
    return text.append(f" · {failed:.0f} failed" if failed else "", style="bold red")


def groups(history: History) -> Text:
    """Describe the groups of the last step; failures stand out."""
    failed = int(history.now("groups_failed") or 0)
    tied = int(history.now("groups_tied") or 0)
    text = Text(f"{share(history.now('signal_share'))} signal · {tied} tied · ")
    text.append(f"{failed} failed", style="bold red" if failed else "")
    lost = sum(int(history.now(each.name) or 0) for each in fields(LostMetrics))
    return text.append(f" · {lost} not sampled" if lost else "", style="bold red")


def judge(history: History) -> str:
    """Describe the judge's usage so far."""

    def total(name: str) -> float:
        return history.total(f"judge_{name}") + history.total(f"eval_judge_{name}")

    spent = cost(total("cost_usd"))
    return f"{amount(total('calls'))} calls · {amount(total('tokens'))} tokens · {spent}"


def timings_table(history: History) -> Table:
    """Render seconds per phase and tokens per second, of the last step and on average.

    Beside them is the share of recent time in which a part was idle; the least stands out.
    """
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="dim", no_wrap=True)
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    shares, dim = idle(history), "dim"
    heads = ("last", "mean", "idle" if shares else "")
    table.add_row("seconds", *(Text(head, style=dim) for head in heads))
    for phase in PHASES:
        style = "bold" if shares and phase == min(shares, key=lambda part: shares[part]) else ""
        free = Text(share(shares[phase]), style=style) if phase in shares else ""
        spent = last_and_average(history.timing(f"{phase}_s"))
        table.add_row(phase.replace("_", " "), *spent, free)
    if waited := history.timing("waited_s"):
        table.add_row("waited", *last_and_average(waited))
    table.add_row("")
    table.add_row("tokens/s", *last_and_average(history.timing("tokens_per_s")))
    if (ready := history.now("servers_ready")) is not None:
        missing = ready < max(history.values("servers_ready"))
        table.add_row("servers", Text(f"{ready:.0f} ready", style="bold red" if missing else ""))
    return table


def idle(history: History) -> dict[str, float]:
    """Return the share of recent time in which each part was idle, as far as it is known."""
    recent = {part: history.recent(f"{part}_idle") for part in PARTS}
    return {part: statistics.fmean(found) for part, found in recent.items() if found}


def bottleneck(history: History) -> list[str]:
    """Say which part bounds the speed of the run, and how idle the others are."""
    shares = idle(history)
    if not shares:
        return []
    busiest = min(shares, key=lambda part: shares[part])
    others = ", ".join(f"{part} {share(shares[part])}" for part in shares if part != busiest)
    return [f"bottleneck {busiest}, idle: {others}"]


def last_and_average(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return DASH, DASH
    return seconds(values[-1]), seconds(sum(values) / len(values))


def step_line(history: History, steps: int) -> str:
    """Describe the last step in one line, for a log."""
    parts = [f"step {history.step}/{steps}"]
    if history.now("groups"):
        parts += [f"reward {reward(history)}"]
    parts += progress(history)
    if history.now("groups"):
        tokens, truncated = history.now("completion_tokens"), history.now("truncated_share")
        parts += [str(groups(history))]
        parts += [f"{number(tokens, 1)} tokens, {share(truncated)} truncated"]
        k3, norm = number(history.now("k3"), 4), number(history.now("grad_norm"), 2)
        parts += [f"k3 {k3}, grad norm {norm}"]
    if (ready := history.now("servers_ready")) is not None:
        parts += [f"{ready:.0f} server{'s' * (ready != 1)} ready"]
    spent = [f"{name} {value:.1f} s" for name, value in last_seconds(history)]
    parts += [", ".join(spent)] if spent else []
    parts += bottleneck(history)
    left = seconds_left(history, steps)
    parts += [f"{duration(left)} left"] if left is not None else []
    return " · ".join(parts)


def progress(history: History) -> list[str]:
    """Describe the evaluation after the last step: the win rate, and the score if there is one."""
    rate, stderr = history.now("win_rate"), history.now("win_rate_stderr")
    parts = [f"win rate {number(rate)} ± {number(stderr)}"] if rate is not None else []
    if history.values("held_out") or not history.values("win_rate"):
        parts += [f"held out {number(history.now('held_out'))}"]
    return parts


def last_seconds(history: History) -> list[tuple[str, float]]:
    """Return the phases of the last step, with their seconds."""
    last = [(phase, series(history.timings[-1:], f"{phase}_s")) for phase in PHASES]
    names = {"held_out": "evaluation"}  # beside the score, which is called held out
    return [(names.get(phase, phase), at[0][1]) for phase, at in last if at and at[0][1]]


def summary(history: History, steps: int, files: str) -> str:
    """Describe the whole run in one line."""
    scores, wins = history.values("held_out"), history.values("win_rate")
    found = []
    if len(wins) > 1:
        found += [f"win rate {win_rate(history)}"]
    if scores:
        best = max(scores)
        found += [f"held out {number(scores[0])} → {number(scores[-1])} (best {number(best)})"]
    is_done = history.step >= steps
    count = f"{steps}" if is_done else f"stopped after {history.step} of {steps}"
    steps_in = f"{count} step{'s' * (steps != 1)} in {duration(history.seconds())}"
    return " · ".join([steps_in, *(found or [f"held out {DASH}"]), files])
