"""Rankings, and problems in their place, as tables."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from podium_service.cli.display.text import literal, number, visible
from podium_service.evaluation.stored.explain import Words
from podium_service.schemas import BatchLine, JurorResult, Problem, Ranking, TrajectoryResult

_MANY = 8


def ranking_table(ranking: Ranking) -> Table:
    """Show one group: its trajectories, best first."""
    table = Table(
        Column("rank", justify="right", no_wrap=True),
        Column("trajectory", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in ("reward", "score", "stderr")),
        Column("explanation", overflow="fold"),
        title=literal(ranking.group_id or ranking.id),
        title_justify="left",
        caption=literal(_caption(ranking), style="table.caption"),
        caption_justify="left",
    )
    for result in sorted(ranking.results, key=lambda each: each.rank):
        table.add_row(
            f"{result.rank:g}", literal(result.id), Text(f"{result.reward:.3f}", style="bold"),
            number(result.score), number(result.stderr), _words(result),
        )  # fmt: skip
    return table


def lines_view(lines: Sequence[BatchLine]) -> RenderableType:
    """Show a table for each of a few groups, or one row for each of many."""
    if len(lines) > _MANY:
        return _overview(lines)
    views: list[RenderableType] = []
    for line in lines:
        if line.ranking:
            views.append(ranking_table(line.ranking))
        elif line.problem:
            title = literal(line.group_id or f"group {line.index}")
            views.append(
                Panel(fault_text(line.problem), title=title, title_align="left", style="red")
            )
    return Group(*views)


def print_words(console: Console, words: Sequence[Words]) -> None:
    """Print a judge's reasons, with the beginnings of the trajectories that it names."""
    for each in words:
        for name, beginning in each.shown.items():
            console.print(literal(f"{name or 'the answer'}: {beginning}", style="dim"))
        console.print(Text("── verdict", style="green"))
        write_verbatim(console, each.verdict)
        console.print(Text("── in words", style="green"))
        write_verbatim(console, f"{each.text}\n")
    console.print(literal(f"{sum(each.tokens for each in words)} tokens", style="dim"))


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
    names = ("group and ranking", "best", "rewards", "reliability", "calls")
    columns = (Column(name, overflow="fold") for name in names)
    table = Table(*columns, title=f"{len(lines)} groups", title_justify="left")
    for line in lines:
        group = literal(line.group_id or str(line.index))
        if line.ranking:
            group.append(f"\n{line.ranking.id}", style="dim")
            table.add_row(group, *_overview_cells(line.ranking))
        elif line.problem:
            table.add_row(group, fault_text(line.problem))
    return table


def fault_text(problem: Problem) -> Text:
    return literal(f"{problem.code}: {problem.detail}", style="red")


def _overview_cells(ranking: Ranking) -> list[str | Text]:
    best = min(ranking.results, key=lambda each: each.rank)
    worst = max(ranking.results, key=lambda each: each.rank)
    return [
        literal(best.id if best.reward > worst.reward else "all tie"),
        f"{worst.reward:.2f} to {best.reward:.2f}",
        number(ranking.reliability),
        "stored" if ranking.cached else str(ranking.usage.calls),
    ]


def write_verbatim(console: Console, text: str) -> None:
    """Write a text as it is, because rich would wrap lines and expand tabs."""
    console.file.write(visible(text) + "\n")
