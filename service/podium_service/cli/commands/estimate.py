"""`podium estimate`: the tokens and dollars that ranking a file would take, before any is spent."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium_service.cli import options

if TYPE_CHECKING:  # slow to load
    from podium_service.ranking.kinds.estimate import CostRange


_MAX_TOLD = 5  # groups that cannot be ranked


def estimate_command(
    file: Annotated[Path, typer.Argument(help="As for `podium rank`; - reads stdin.")],
    judge: Annotated[
        str | None, typer.Option(help="The judge of every group, also of those that name another.")
    ] = None,
    from_format: Annotated[
        str, typer.Option("--from", help="The format of the rows, or auto.")
    ] = "auto",
    group_by: Annotated[
        str | None, typer.Option(help="The field that the rows of one group share.")
    ] = None,
    config: options.ConfigPath = None,
    as_json: options.AsJSON = False,
) -> None:
    """Estimate the tokens and dollars of ranking the groups of FILE. No completion is asked for.

    The least is `passes.min` passes with bare verdicts, the most is the largest number of passes
    with replies at their cap. Only a judge's list of models is read, for the length of its context.
    Groups that cannot be ranked are left out, and told; the exit status is 1 then.
    """
    from podium_service.evaluation.labelled_groups import read_groups

    options.configure_logs("error")
    groups = [
        group | {"judge": judge} if judge else group
        for group in read_groups(file, from_format, group_by).groups
    ]
    total, faults, about = asyncio.run(_estimate(config, judge, groups))
    if as_json:
        options.print_json(_as_json(len(groups), total, faults, about))
    else:
        num_counted = len(groups) - len(faults)
        if num_counted or not groups:
            typer.echo(_as_text(num_counted, len(groups), total, about))
    for index, fault in list(faults.items())[:_MAX_TOLD]:
        typer.echo(f"podium: group {index} cannot be ranked: {fault}", err=True)
    if len(faults) > _MAX_TOLD:
        typer.echo(f"podium: {len(faults) - _MAX_TOLD} more groups cannot be ranked", err=True)
    if faults:
        raise typer.Exit(1)


async def _estimate(
    config: Path | None, judge: str | None, groups: list[Any]
) -> "tuple[CostRange, dict[int, str], list[str]]":
    """Return the sum over all groups, the faults by index, and what prices were taken.

    Raises:
        UnknownJudge: If there is no such judge, which is no fault of the groups.
    """
    from podium_service.errors import PodiumError
    from podium_service.http.requests.body import validate
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.ranking.kinds.estimate import CostRange, estimate_group, price_note
    from podium_service.schemas import RankRequest
    from podium_service.telemetry.metrics import Metrics

    total, faults, names = CostRange(), {}, set()
    asked: set[str] = set()
    async with aclosing(JudgeRegistry(config, Metrics())) as judges:
        roster = judges.roster
        if judge:
            roster.chain(judge)
        for index, group in enumerate(groups):
            try:
                request = validate(RankRequest, group)
                name = request.judge or roster.config.default_judge
                total += await estimate_group(roster, name, request, asked=asked)
                names.add(name)
            except PodiumError as error:
                faults[index] = str(error)
        about = [price_note(each, roster.config.judges) for each in sorted(names)]
    return total, faults, [note for note in about if note]


def _as_text(num_counted: int, num_groups: int, total: "CostRange", about: list[str]) -> str:
    least, most = total.least, total.most
    of = "" if num_counted == num_groups else f"{num_counted} of "
    lines = [f"{of}{num_groups} group{'' if num_groups == 1 else 's'}"]
    for what in ("calls", "prompt_tokens", "completion_tokens"):
        low, high = getattr(least, what), getattr(most, what)
        lines.append(f"{what.replace('_', ' '):<18} {low:>12,} to {high:,}")
    if least.usd is not None and most.usd is not None:
        lines.append(f"{'US dollars':<18} {least.usd:>12.4f} to {most.usd:.4f}")
    else:
        lines.append(f"{'US dollars':<18} {'unknown':>12}")
    return "\n".join([*lines, *about])


def _as_json(
    num_groups: int, total: "CostRange", faults: dict[int, str], about: list[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    told = {str(index): fault for index, fault in faults.items()}
    return {"groups": num_groups, **asdict(total), "faults": told, "notes": about}
