"""Rankings, and problems in their place, as tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from podium_service.cli.display.text import literal, number, visible
from podium_service.schemas import BatchLine, JurorResult, Ranking, TrajectoryResult

_MANY = 8


def ranking_table(ranking: Ranking) -> Table:
    """One group: its trajectories, best first."""
    title = literal(ranking.group_id or ranking.id)
    table = Table(title=title, title_justify="left")
    caption = literal(_caption(ranking), style="table.caption")
    table.caption, table.caption_justify = caption, "left"
    for name in ("rank", "trajectory", "reward", "score", "stderr"):
        table.add_column(name, justify="left" if name == "trajectory" else "right", no_wrap=True)
    table.add_column("explanation", overflow="fold")
    for result in sorted(ranking.results, key=lambda each: each.rank):
        table.add_row(
            f"{result.rank:g}",
            literal(result.id),
            Text(f"{result.reward:.3f}", style="bold"),
            number(result.score),
            number(result.stderr),
            _words(result),
        )
    return table


def lines_view(lines: Sequence[BatchLine]) -> RenderableType:
    """A table for each of a few groups; one row for each of many."""
    if len(lines) > _MANY:
        return _overview(lines)
    views: list[RenderableType] = []
    for line in lines:
        if line.ranking:
            views.append(ranking_table(line.ranking))
        elif line.problem:
            name = line.group_id or f"group {line.index}"
            failed = literal(f"{line.problem.code}: {line.problem.detail}", style="red")
            views.append(Panel(failed, title=literal(name), title_align="left", style="red"))
    return Group(*views)


def _words(result: TrajectoryResult) -> Text:
    words = literal(result.explanation)
    for flag in result.flags:
        words.append(f" [{visible(flag)}]", style="yellow")
    return words


def _caption(ranking: Ranking) -> str:
    reliability = "unknown" if ranking.reliability is None else f"{ranking.reliability:.2f}"
    usage = ranking.usage
    spent = "from the store" if ranking.cached else f"{usage.calls} judge calls"
    cost = f", ${usage.cost_usd:.4f}" if usage.cost_usd is not None else ""
    answered = f"{ranking.judge}" + (f" ({ranking.model})" if ranking.model else "")
    instead = f" instead of {ranking.fallback_from}" if ranking.fallback_from else ""
    caption = f"{ranking.id} · {answered}{instead} · reliability {reliability} · {spent}{cost}"
    jurors = ", ".join(map(_juror, ranking.jurors))
    return f"{caption}\njurors: {jurors}" if jurors else caption


def _juror(juror: JurorResult) -> str:
    if juror.status == "counted":
        return f"{juror.judge} {juror.weight:.2f}"
    return f"{juror.judge} {juror.status}" + (f" ({juror.code})" if juror.code else "")


def _overview(lines: Sequence[BatchLine]) -> Table:
    table = Table(title=f"{len(lines)} groups", title_justify="left")
    for name in ("group and ranking", "best", "rewards", "reliability", "calls"):
        table.add_column(name, overflow="fold")
    for line in lines:
        group = literal(line.group_id or str(line.index))
        if line.ranking:
            group.append(f"\n{line.ranking.id}", style="dim")
            table.add_row(group, *_overview_cells(line.ranking))
        elif line.problem:
            table.add_row(
                group, literal(f"{line.problem.code}: {line.problem.detail}", style="red")
            )
    return table


def _overview_cells(ranking: Ranking) -> list[str | Text]:
    best = min(ranking.results, key=lambda each: each.rank)
    worst = max(ranking.results, key=lambda each: each.rank)
    return [
        literal(best.id if best.reward > worst.reward else "all tie"),
        f"{worst.reward:.2f} to {best.reward:.2f}",
        number(ranking.reliability),
        "stored" if ranking.cached else str(ranking.usage.calls),
    ]
