"""Write groups in Podium's wire form to standard output."""

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from benchmarks.groups import CONVERTERS, synthetic_groups


def main(
    kind: Annotated[str, typer.Argument(help=f"synthetic, {', '.join(CONVERTERS)}.")],
    path: Annotated[
        Path | None, typer.Argument(help="The recorded data; none for synthetic.")
    ] = None,
    num: Annotated[int, typer.Option(help="Synthetic groups.")] = 100,
    trajectories: Annotated[int, typer.Option(help="Synthetic trajectories a group.")] = 8,
    messages: Annotated[int, typer.Option(help="Synthetic messages a trajectory.")] = 10,
    group_bytes: Annotated[int, typer.Option(help="Synthetic bytes a group.")] = 95_000,
    seed: Annotated[int, typer.Option(help="Of the synthetic groups.")] = 0,
) -> None:
    """Write groups in Podium's wire form to standard output, one JSON object a line."""
    if kind == "synthetic":
        groups = synthetic_groups(
            num, trajectories=trajectories, messages=messages, group_bytes=group_bytes, seed=seed
        )
    elif kind not in CONVERTERS:
        raise typer.BadParameter(f"{kind!r} is none of synthetic, {', '.join(CONVERTERS)}")
    elif path is None:
        raise typer.BadParameter(f"{kind} needs the path of its data")
    else:
        groups = CONVERTERS[kind](path)
    for group in groups:
        sys.stdout.buffer.write(orjson.dumps(group) + b"\n")


if __name__ == "__main__":
    typer.run(main)
