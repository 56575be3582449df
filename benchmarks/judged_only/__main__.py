"""Does a run whose task has no score learn what its judge prefers, and a control nothing?

    python -m benchmarks.judged_only [--seeds 3] [--controls 6] [--quick]

Prints each run's win rate against its first policy, with the interval over prompts, and the mean of
the runs with the interval over runs; writes both as JSON after every run, and draws the curves.
Runs that the file holds already are not done again. About 3 to 5 minutes a run on one core.
"""

import json
import signal
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.judged_only.plot import draw, label, mean_over_runs
from benchmarks.judged_only.runs import ARMS, Record, Setup, run_once
from benchmarks.machine import machine
from podium_trainer.display.text import number
from podium_trainer.run.cli import silence_libraries

MODEL = ".models/smollm2-135m-instruct"
RESULTS = Path("benchmarks/results/judged_only.json")
PICTURE = Path("docs/judged-only.png")
QUICK_FOLDER = Path("runs/judged-only-quick")
SMALL = ("prompts_per_step", "group_size", "prompts", "samples")
PACKAGES = ("podium", "torch", "transformers", "numpy")


def read_runs(path: Path, setup: Setup) -> list[Record]:
    """Return the runs of a file that were made with this setup."""
    if not path.is_file():
        return []
    told = json.loads(path.read_text())
    runs: list[Record] = told["runs"] if told["setup"] == asdict(setup) else []
    return runs


def missing(runs: Sequence[Record], counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return the arms and seeds that are still to be run, all arms of a seed before the next."""
    done = {(run["arm"], run["seed"]) for run in runs}
    wanted = [
        (arm, seed) for seed in range(max(counts.values())) for arm in ARMS if seed < counts[arm]
    ]
    return [each for each in wanted if each not in done]


def write(path: Path, setup: Setup, runs: Sequence[Record]) -> None:
    """Write all runs, the mean of each arm at the last step, and where they were made."""
    where = machine()
    where["versions"] |= {name: version(name) for name in PACKAGES}
    means = {arm: mean_over_runs(runs, arm)[-1] for arm in ARMS if has_runs(runs, arm)}
    told = {"machine": where, "setup": asdict(setup), "last_step": means, "runs": list(runs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")


def has_runs(runs: Sequence[Record], arm: str) -> bool:
    return any(run["arm"] == arm for run in runs)


def line(name: str, rate: Record) -> str:
    span = f"{number(rate['low'], 2)} to {number(rate['high'], 2)}"
    return f"{name}: win rate {number(rate['win_rate'])} ({span})"


def main(
    model: Annotated[str, typer.Option(help="Folder of the policy to start from.")] = MODEL,
    seeds: Annotated[int, typer.Option(help="Runs by a judge, with seeds 0, 1, ...")] = 3,
    controls: Annotated[int, typer.Option(help="Runs with random rewards.")] = 6,
    quick: Annotated[bool, typer.Option(help="One small run of each kind.")] = False,
    out: Annotated[Path | None, typer.Option(help="The JSON to write.")] = None,
    plot: Annotated[Path | None, typer.Option(help="The picture to write.")] = None,
) -> None:
    """Run what is missing, then print and draw the win rates."""
    torch.set_num_threads(1)
    silence_libraries()
    small = dict.fromkeys(("steps", "every"), 1) | dict.fromkeys(SMALL, 2)
    setup = Setup(model, **small) if quick else Setup(model)
    path = out or (QUICK_FOLDER / "judged_only.json" if quick else RESULTS)
    counts = dict.fromkeys(ARMS, 1) if quick else dict(zip(ARMS, (seeds, controls), strict=True))
    runs = read_runs(path, setup)
    for arm, seed in missing(runs, counts):
        runs.append(run_once(arm, seed, setup))
        write(path, setup, runs)
        print(line(label(runs[-1]), runs[-1]["win_rates"][-1]), flush=True)
    for arm in ARMS:
        if has_runs(runs, arm):
            print(line(f"{arm}, mean of runs", mean_over_runs(runs, arm)[-1]))
    draw(runs, plot or (QUICK_FOLDER / "judged-only.png" if quick else PICTURE))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the service is stopped, too
    typer.run(main)
