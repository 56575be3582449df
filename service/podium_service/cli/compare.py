"""`podium compare`: would another judge give the same rewards, and at what price?"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table

from podium_service.cli.display import literal
from podium_service.cli.options import (
    DEFAULT_CONCURRENCY,
    DEFAULT_DEADLINE_S,
    DEFAULT_STORE,
    AsJSON,
    Concurrency,
    ConfigPath,
    DeadlineS,
    StoreURL,
    print_json,
    progress,
    require_deadline,
)
from podium_service.errors import ConfigError
from podium_service.evaluation.compare import Comparison, PairSummary, compare, stored_groups
from podium_service.evaluation.labelled_groups import read_requests
from podium_service.evaluation.page import ROWS, with_interval
from podium_service.http.server.server import open_service
from podium_service.telemetry import logs

_SHOWN = 10  # changes of sign
_PAIR_ROWS = {
    "tau": "Kendall's tau of the rewards",
    "top1": "Same best trajectory",
    "opposite": "Advantages of opposite sign",
    "one_sided": "Advantages that are zero for one only",
}


def compare_command(
    judges: Annotated[str, typer.Option(help="Two names or more, with commas: A,B.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Groups as `podium rank` takes them; by default those in the store."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="The first of FILE, or newest of the store.")
    ] = 100,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    deadline_s: DeadlineS = DEFAULT_DEADLINE_S,
    config: ConfigPath = None,
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Rank the same groups with each judge, and show where rewards differ and what they cost.

    What a judge has ranked before comes from the store and is not paid again.
    """
    logs.configure("error")
    require_deadline(deadline_s)
    names = judge_names(judges)
    comparison = asyncio.run(_compare(config, store, names, data, limit, concurrency, deadline_s))
    if as_json:
        print_json(comparison)
    else:
        Console().print(comparison_view(comparison))


def judge_names(text: str) -> list[str]:
    """The names in `A,B`.

    Raises:
        ConfigError: If they are not two different ones or more.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"--judges {text!r}: name two different judges or more, as A,B")
    return names


def comparison_view(comparison: Comparison) -> RenderableType:
    """One table for the judges, one for each pair of them."""
    judges = Table(title=f"{comparison.groups} groups", title_justify="left")
    judges.add_column("")
    for each in comparison.judges:
        judges.add_column(literal(each.judge))
    judges.add_row("Ranked", *(_ranked(each.ranked, each.stored) for each in comparison.judges))
    judges.add_row(
        ROWS["reliability"][0], *(with_interval(each.reliability) for each in comparison.judges)
    )
    for name in comparison.judges[0].measures:
        values = (with_interval(each.measures[name]) for each in comparison.judges)
        judges.add_row(ROWS[name][0], *values)
    failed = (", ".join(f"{n} {code}" for code, n in j.failures.items()) for j in comparison.judges)
    judges.add_row("Failed", *(words or "none" for words in failed))
    pairs = Table(title="how far they agree", title_justify="left")
    pairs.add_column("")
    for pair in comparison.pairs:
        pairs.add_column(literal(f"{pair.first}, {pair.second}"))
    pairs.add_row("Groups ranked by both", *(str(pair.groups) for pair in comparison.pairs))
    for name, words in _PAIR_ROWS.items():
        values = (with_interval(getattr(pair, name)) for pair in comparison.pairs)
        pairs.add_row(words, *values)
    changes = [_changes_table(pair) for pair in comparison.pairs if pair.changes]
    left_out = [
        literal(f"{count} stored groups left out: {reason}")
        for reason, count in comparison.left_out.items()
    ]
    return Group(judges, pairs, *changes, *left_out)


def _changes_table(pair: PairSummary) -> Table:
    """The trajectories on whose sign two judges disagree most; --json has all."""
    widest = sorted(pair.changes, key=lambda each: -abs(each.first_reward - each.second_reward))
    title = f"rewards that change sign: the widest {min(_SHOWN, len(widest))} of {len(widest)}"
    table = Table(title=title, title_justify="left")
    for name in ("group", "trajectory", pair.first, pair.second):
        table.add_column(literal(name))
    for each in widest[:_SHOWN]:
        group = each.group_id or f"group {each.group}"
        rewards = f"{each.first_reward:.3f}", f"{each.second_reward:.3f}"
        table.add_row(literal(group), literal(each.trajectory), *rewards)
    return table


def _ranked(ranked: int, stored: int) -> str:
    return f"{ranked}, {stored} from the store" if stored else str(ranked)


async def _compare(
    config: Path | None,
    store: str,
    judges: list[str],
    data: Path | None,
    limit: int,
    concurrency: int,
    deadline_s: float,
) -> Comparison:
    async with open_service(config, store) as service:
        left_out: dict[str, int] = {}
        if data:
            requests = read_requests(data, limit)
        else:
            requests, left_out = await stored_groups(service, store, limit)
        with progress("comparing", len(requests) * len(judges)) as advance:
            return await compare(
                service,
                judges,
                requests,
                left_out=left_out,
                concurrency=concurrency,
                deadline_s=deadline_s,
                advance=advance,
            )
