"""Which reward learns best: SmolLM2 on addition, a noisy and biased judge, and ways to use it.

    python -m benchmarks.learning [--seeds 6] [--quick]
    python -m benchmarks.learning --tune

Arms (`learning_run.ARMS`): RULER's procedure, the default, short prompts, 4 passes, `best_of`, each
with advantages centred (mean) and also divided by the group's sd (std), and an exact judge as the
ceiling. Every arm has the same prompts, rollouts and steps; the held-out score is shown against
rollouts and against judge tokens. Equal answers are shown once in every arm. One seed more or less
changes a run a lot, so that six seeds are the least, and each arm has a learning rate of its own,
the best of `--tune` on seeds from 100 on.

Each finished run is a line of `learning.jsonl` and is not done again; a run that was killed starts
anew. All arms of one seed come before the next seed. About 2 minutes a run on one core.
"""

import json
import os
import platform
import signal
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.learning_plot import draw
from benchmarks.learning_report import Record, by_arm, mean_P, show, summarise
from benchmarks.learning_run import ARMS, Setup, run_once
from benchmarks.machine import cpu_model
from podium_trainer.run.cli import silence_libraries

MODEL = ".models/smollm2-135m-instruct"
RESULTS = Path(__file__).with_name("results")
QUICK_RESULTS = Path("runs/learning-quick")
QUICK: dict[str, Any] = {
    "steps": 2, "eval_every": 1, "prompts_per_step": 2, "group_size": 4, "eval_samples": 1
}  # fmt: skip
QUICK_ARMS = "ruler std,default mean"
TUNING_SEEDS, TUNING_LRS = (100, 101), (1e-5, 2e-5, 4e-5)
PACKAGES = ("podium", "torch", "transformers", "numpy", "openai")


def read_records(path: Path, setup: Setup) -> list[Record]:
    """Return the whole lines of a file that were made with this setup."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what is cut off was killed
    records = [json.loads(line) for line in lines]
    return [record for record in records if record["setup"] == asdict(setup)]


def keep(path: Path, record: Record) -> None:
    """Append a line, in the place of one that a killed process left unfinished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def missing(records: Sequence[Record], arms: Sequence[str], seeds: int) -> list[tuple[str, int]]:
    """Return what is still to be run: all arms of a seed before the next."""
    done = {(record["arm"], record["seed"]) for record in records}
    wanted = [(arm, seed) for seed in range(seeds) for arm in arms]
    return [each for each in wanted if each not in done]


def tune_rates(setup: Setup, arms: Sequence[str], path: Path) -> None:
    """Run each arm at each learning rate on the tuning seeds, and print the areas over rollouts."""
    records = read_records(path, setup)
    done = {(record["arm"], record["seed"], record["lr"]) for record in records}
    for arm, seed, lr in product(arms, TUNING_SEEDS, TUNING_LRS):
        if (arm, seed, lr) not in done:
            records.append(run_once(setup, arm, seed, lr) | about())
            keep(path, records[-1])
    for arm, lr in product(arms, TUNING_LRS):
        areas = [mean_P(each).mean() for each in records if (each["arm"], each["lr"]) == (arm, lr)]
        print(f"{arm:14} lr {lr:g}: {np.round(areas, 3).tolist()}", flush=True)


def about() -> dict[str, Any]:
    """Return what a figure must name: when and with what it was measured."""
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def report(records: Sequence[Record], setup: Setup, folder: Path, plot: Path) -> None:
    """Print the tables; write `learning.json` and the plot."""
    runs = by_arm(records, list(ARMS))
    summary = summarise(runs)
    show(summary)
    measured = {name: records[-1][name] for name in about()}
    told = measured | {"setup": asdict(setup)} | summary
    (folder / "learning.json").write_text(json.dumps(told, indent=1) + "\n")
    draw(runs, plot)


def line_of(record: Record) -> str:
    scores = " ".join(
        f"{look['step']}: {sum(look['scores']) / len(look['scores']):.3f}"
        for look in record["looks"]
    )
    tokens = sum(step["tokens"] for step in record["steps"])
    return (
        f"{record['arm']} seed {record['seed']}: held out {scores};"
        f" {tokens / 1e3:,.0f}k judge tokens, {record['wall_s']:.0f} s"
    )


def main(
    model: Annotated[str, typer.Option(help="Folder of the policy to start from.")] = MODEL,
    seeds: Annotated[int, typer.Option(help="0 only shows what there is.")] = 6,
    steps: int = 40,
    judge: Annotated[str, typer.Option(help="A judge of judges/fitted.json.")] = Setup.judge,
    arms: Annotated[str, typer.Option(help="Some of them, separated by commas.")] = "",
    tune: Annotated[bool, typer.Option(help="Compare learning rates for each arm.")] = False,
    quick: Annotated[bool, typer.Option(help="Two arms, one seed, two steps.")] = False,
    results: Annotated[Path | None, typer.Option(help="Folder of the records.")] = None,
    plot: Annotated[Path | None, typer.Option(help="The picture to write.")] = None,
) -> None:
    """Run what is missing, then print the tables."""
    torch.set_num_threads(1)
    silence_libraries()
    folder = results or (QUICK_RESULTS if quick else RESULTS)
    picture = plot or (folder / "learning.png" if quick else Path("docs/learning.png"))
    setup = Setup(model, judge=judge, **(QUICK if quick else {"steps": steps}))
    names = (arms or (QUICK_ARMS if quick else ",".join(ARMS))).split(",")
    if tune:
        tune_rates(setup, names, folder / "learning-rates.jsonl")
        return
    path = folder / "learning.jsonl"
    for arm, seed in missing(read_records(path, setup), names, 1 if quick else seeds):
        record = run_once(setup, arm, seed) | about()
        keep(path, record)
        print(line_of(record), flush=True)
    if records := read_records(path, setup):
        report(records, setup, folder, picture)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the service is stopped, too
    typer.run(main)
