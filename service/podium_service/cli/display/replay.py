"""A stored ranking: each attempt in each pass, how the rewards came about, and the calls."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from podium_service.cli.display.rankings import fault_text, ranking_table, write_verbatim
from podium_service.cli.display.text import literal, visible
from podium_service.prompts.message_parts.images import describe_content
from podium_service.schemas import Ranking, TrajectoryResult
from podium_service.schemas.history import CallView, RankingSummary
from podium_service.store.history.reader import PastRanking

_NAME_WIDTH, _CELL_WIDTH = 24, 16
_UNCOMPARED = {
    "identical": "all attempts are the same: no judge was asked, and all share one reward",
    "alone": "one attempt passed the gates: there was nothing to compare it with",
    "all_gated": "every attempt failed a gate: all rewards are 0",
}


def print_replay(console: Console, past: PastRanking, *, with_prompts: bool = False) -> None:
    """Print a past ranking; then every prompt and reply behind it, if asked for."""
    detail, calls = past.detail, past.calls
    console.print(literal(_headline(detail.summary), style="dim"))
    passes = [call for call in calls if call.order]
    if detail.problem:
        title = literal(detail.summary.group_id or detail.summary.id)
        console.print(Panel(fault_text(detail.problem), title=title, title_align="left"))
    results = detail.ranking.results if detail.ranking else []
    for some in _blocks(passes, console.width):
        console.print(_matrix(some, passes, results))
    if detail.ranking:
        console.print(literal(how_it_came_about(detail.ranking)))
        console.print(ranking_table(detail.ranking))
    for call in calls:
        console.print(literal(f"━━ {_call_line(call)}", style="bold" if with_prompts else ""))
        if with_prompts:
            _print_call(console, call)
    if calls and not with_prompts:
        console.print(literal("--prompts shows the exact prompts and replies", style="dim"))


def how_it_came_about(ranking: Ranking) -> str:
    """Return in a line what the rewards of a ranking rest on."""
    if ranking.basis != "judged":
        return f"rewards: {_UNCOMPARED[ranking.basis]}"
    if ranking.method == "checks":
        return "rewards: from the weighted share of the criteria that each attempt meets"
    stderrs = [each.stderr for each in ranking.results if each.stderr is not None]
    noise = f", ± {max(stderrs):.3f}" if stderrs else ""
    sure = "unknown" if ranking.reliability is None else f"{ranking.reliability:.2f}"
    number = f"{ranking.passes} pass" + ("es" if ranking.passes != 1 else "")
    who = "jurors, combined by their noise" if ranking.jurors else f"{ranking.judge}"
    rest = f"; {ranking.fallback_from} failed before" if ranking.fallback_from else ""
    return (
        f"rewards: from the mean scores over {number} ({ranking.method}) of {who}{noise}; "
        f"reliability {sure}, the share of their differences that is no noise{rest}"
    )


def _headline(summary: RankingSummary) -> str:
    asked = [f"run {summary.run}" if summary.run else "", f"prompt {summary.prompt_id}"]
    step = f"step {summary.step}" if summary.step is not None else ""
    return " · ".join(filter(None, [summary.id, *asked[:1], step, asked[1], summary.prompt or ""]))


def _blocks(passes: Sequence[CallView], width: int) -> list[list[CallView]]:
    """Return the passes in order, those of a juror side by side, as many at once as fit."""
    judges = list(dict.fromkeys(call.judge for call in passes))
    ordered = sorted(passes, key=lambda call: (judges.index(call.judge), call.pass_index))
    fitting = max(1, (width - _NAME_WIDTH - 4) // (_CELL_WIDTH + 3))
    return [ordered[start : start + fitting] for start in range(0, len(ordered), fitting)]


def _matrix(
    some: Sequence[CallView], passes: Sequence[CallView], results: Sequence[TrajectoryResult]
) -> Table:
    """Show each attempt's score, slot and sentence in some passes; the best attempt first."""
    table = Table(
        Column("attempt", no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH),
        *(Column(literal(_pass_name(call, passes)), overflow="fold") for call in some),
        title="score and slot in each pass",
        title_justify="left",
    )
    shown = dict.fromkeys(name for call in passes for name in call.order)
    ranked = [each.id for each in sorted(results, key=lambda each: each.rank)]
    names = [*(name for name in ranked if name in shown), *(n for n in shown if n not in ranked)]
    for name in names:
        table.add_row(literal(name), *(_cell(call, name) for call in some))
    if unshown := [name for name in ranked if name not in shown]:
        table.caption = literal(f"equal to one of these, or gated: {', '.join(unshown)}")
    return table


def _pass_name(call: CallView, passes: Sequence[CallView]) -> str:
    judges = {each.judge for each in passes}
    return f"{call.judge} {call.pass_index + 1}" if len(judges) > 1 else f"{call.pass_index + 1}"


def _cell(call: CallView, name: str) -> Text:
    if name not in call.scores:
        return Text()
    cell = Text(f"{call.scores[name]:.2f}", style="bold")
    cell.append(f" slot {call.order.index(name) + 1}", style="dim")
    if words := call.explanations.get(name):
        cell.append(f"\n{visible(words)}", style="")
    return cell


def _call_line(call: CallView) -> str:
    usage = call.usage
    outcome = f"no verdict: {call.fault}" if call.fault else "verdict"
    cost = f" · ${usage.cost_usd:.5f}" if usage.cost_usd is not None else ""
    tokens = usage.prompt_tokens + usage.completion_tokens
    return (
        f"pass {call.pass_index + 1} · {call.judge} · {call.model} · {call.latency_s:.2f} s · "
        f"{tokens} tokens{cost} · {outcome}"
    )


def _print_call(console: Console, call: CallView) -> None:
    """Print a prompt and its reply, word for word and unwrapped."""
    for message in call.messages:
        console.print(literal(f"── {message['role']}", style="cyan"))
        write_verbatim(console, describe_content(message["content"]))
    console.print(Text("── reply", style="green"))
    write_verbatim(console, call.reply)
    shown = ", ".join(f"{shown} is {name}" for shown, name in call.shown_ids.items())
    console.print(Group(literal(f"ids: {shown}", style="dim")))
