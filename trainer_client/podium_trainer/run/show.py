"""`podium-train show`: print what was sampled in a run, with rewards, advantages and reasons."""

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from podium_trainer.display.rollouts import ordered, print_group
from podium_trainer.records.rollouts.file import NAME, read_lines

MAX_IDS = 8  # of prompts that an error names
Group = Mapping[str, Any]


class ShowError(Exception):
    """Nothing can be shown; the message is one line that says why and what to do."""


def show(arguments: Sequence[str]) -> int:
    """Print the groups that the command line chooses.

    Returns:
        The exit status.

    Raises:
        ShowError: If there is no such group.
        SystemExit: After printing `--help`, or what is wrong with an option.
    """
    options = parser().parse_args(arguments)
    groups = [shorten(group, options) for group in choose(find_file(options.run), options)]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a pipe may take another encoding than the texts
    try:
        if options.json:
            sys.stdout.writelines(json.dumps(group) + "\n" for group in groups)
        else:
            console = Console(markup=False, emoji=False, highlight=False)
            for group in groups:
                print_group(console, group, in_full=options.full)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        "podium-train show", description="Print what was sampled in a run, and what it earned."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, its `out`")
    parser.add_argument(
        "--step",
        type=int,
        metavar="N",
        help="the step; by default the last one, or with --prompt all steps",
    )
    parser.add_argument(
        "--prompt",
        metavar="ID",
        help="the prompt's id, or a part of it if no id is equal",
    )
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="the attempts of evaluations, ranked against those of step 0",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--best", action="store_true", help="only the best attempt of each group")
    one.add_argument("--worst", action="store_true", help="only the worst attempt of each group")
    parser.add_argument("--full", action="store_true", help="do not shorten long texts")
    parser.add_argument("--json", action="store_true", help="print the lines of the file")
    return parser


def find_file(run: Path) -> Path:
    """Return the file of a run's folder.

    Raises:
        ShowError: If there is none.
    """
    path = run if run.is_file() else run / NAME
    if not path.is_file():
        raise ShowError(f"{path}: there is no such file: name the folder `out` of a run")
    return path


def choose(path: Path, options: argparse.Namespace) -> list[Group]:
    """Return the groups of the file that the options ask for.

    Raises:
        ShowError: If there are none.
    """
    wants_last = options.step is None and options.prompt is None
    chosen: list[Group] = []
    steps: list[int] = []
    ids: dict[str, None] = {}
    for group in read_groups(path, is_held_out=options.held_out):
        steps.append(group["step"])
        ids[group["prompt_id"]] = None
        if wants_last and chosen and chosen[-1]["step"] != group["step"]:
            chosen = []
        if options.step in (None, group["step"]) and (options.prompt or "") in group["prompt_id"]:
            chosen.append(group)
    equal = [group for group in chosen if group["prompt_id"] == options.prompt]
    if chosen:
        return equal or chosen
    kind = "held-out group" if options.held_out else "group"
    if not steps:
        raise ShowError(f"{path} holds no {kind} of a whole step yet")
    asked = [f"--step {options.step}"] if options.step is not None else []
    asked += [f"--prompt {options.prompt!r}"] if options.prompt is not None else []
    raise ShowError(
        f"{' '.join(asked)}: there is no such {kind}; {path} has steps {steps[0]} to {steps[-1]}"
        f" and prompts {', '.join(list(ids)[:MAX_IDS])}{', ...' * (len(ids) > MAX_IDS)}"
    )


def read_groups(path: Path, *, is_held_out: bool) -> Iterator[Group]:
    """Yield the groups of one kind."""
    kind = "held_out" if is_held_out else "train"
    return (group for group in read_lines(path) if group["kind"] == kind)


def shorten(group: Group, options: argparse.Namespace) -> Group:
    """Return the group with the attempts that the options ask for; all if none is ranked."""
    ranked = [each for each in ordered(group["attempts"]) if each["rank"] is not None]
    if not ranked or not (options.best or options.worst):
        return group
    return {**group, "attempts": [ranked[0 if options.best else -1]]}
