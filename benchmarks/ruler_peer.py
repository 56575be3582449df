"""RULER (openpipe-art's `ruler_score_group`) in the closed loop of `benchmarks.load`.

Imports nothing of Podium; runs in an environment of its own (`pip install openpipe-art litellm`),
from the root of the repository:

    python -m benchmarks.ruler_peer --groups FILE.jsonl --judge-url http://127.0.0.1:PORT/v1 \
        --in-flight 64 --stagger-s 1

Ranks the groups of the file in process, round and round, and prints JSON lines: one when all
workers are warm, then the outcome. ART's own objects are built before, as a trainer on ART would
already hold them.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from benchmarks.load.rounds import Ask, ClosedLoop, Schedule

# Without this litellm fetches its price list from the network when imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
# ART has no types: importing it by name keeps the rest of this file checked.
art: Any = importlib.import_module("art")
ruler: Any = importlib.import_module("art.rewards.ruler")
openai: Any = importlib.import_module("openai")

DISTRIBUTIONS = ("openpipe-art", "litellm", "openai", "aiohttp")


def load_groups(path: Path) -> list[Any]:
    """Read a JSON-lines file of groups as ART trajectory groups."""
    with path.open(encoding="utf-8") as lines:
        wires = [json.loads(line) for line in lines]
    if not wires:
        raise ValueError(f"no groups in {path}")
    return [
        art.TrajectoryGroup(
            [
                art.Trajectory(messages_and_choices=trajectory["messages"], reward=0.0)
                for trajectory in wire["trajectories"]
            ]
        )
        for wire in wires
    ]


def asker(groups: Sequence[Any], judge_url: str) -> Ask:
    params: dict[str, object] = {"api_base": judge_url, "api_key": "none"}

    async def ask(worker: int, number: int) -> str | None:
        group = groups[number % len(groups)]
        try:
            await ruler.ruler_score_group(
                group, judge_model="openai/scripted", extra_litellm_params=params
            )
        except openai.OpenAIError as error:  # litellm's own errors are of it, too
            return f"{type(error).__name__}: {str(error)[:120]}"
        return None

    return ask


async def measure(args: argparse.Namespace, out: TextIO) -> None:
    ask = asker(load_groups(args.groups), args.judge_url)
    schedule = Schedule(args.in_flight, args.stagger_s, args.window_s, args.rounds)
    loop = ClosedLoop(ask, schedule, lambda: print('{"warm": true}', file=out, flush=True))
    outcome = await loop.run()
    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in DISTRIBUTIONS}
    said = outcome.summary(args.in_flight) | {"versions": versions}
    print(json.dumps(said), file=out, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time openpipe-art's RULER on a file of groups.")
    parser.add_argument("--groups", type=Path, required=True, help="JSON lines in Podium's form")
    parser.add_argument("--judge-url", required=True, help="for example http://127.0.0.1:9000/v1")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--stagger-s", type=float, default=0.0, help="workers start spread over it")
    parser.add_argument("--window-s", type=float, default=8.0, help="the least time to count")
    parser.add_argument("--rounds", type=int, default=3, help="the fewest rounds a worker")
    args = parser.parse_args()
    out = sys.stdout
    # RULER and litellm write their notices to standard output.
    with contextlib.redirect_stdout(sys.stderr):
        asyncio.run(measure(args, out))


if __name__ == "__main__":
    main()
