"""Time RULER (openpipe-art's `ruler_score_group`) on groups in Podium's wire form.

Imports nothing of Podium; runs in an environment of its own (`pip install openpipe-art litellm`):

    python benchmarks/ruler_peer.py --groups FILE.jsonl --judge-url http://127.0.0.1:PORT/v1 \
        --in-flight 64 --num-groups 500

Ranks the groups of the file in process, round and round if it holds too few, and prints one JSON
line. ART's own objects are built before the clock starts, as a trainer on ART would already hold
them; `cpu_s` counts all threads of this process; `rss_mb` is the peak and includes the groups.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Without this litellm fetches its price list from the network when imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
# ART has no types: importing it by name keeps the rest of this file checked.
art: Any = importlib.import_module("art")
ruler: Any = importlib.import_module("art.rewards.ruler")

DISTRIBUTIONS = ("openpipe-art", "litellm", "openai", "aiohttp")


def load_groups(path: Path, num: int) -> list[Any]:
    """Read the first `num` groups of a JSON-lines file as ART trajectory groups."""
    with path.open(encoding="utf-8") as lines:
        wires = [json.loads(line) for line, _ in zip(lines, range(num), strict=False)]
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


async def rank_all(
    groups: Sequence[Any], *, num_groups: int, in_flight: int, params: dict[str, object]
) -> list[float]:
    """Rank `num_groups` groups with `in_flight` of them at a time; return seconds per group."""
    indexes = iter(range(num_groups))
    seconds: list[float] = []

    async def worker() -> None:
        for index in indexes:
            start = time.perf_counter()
            await ruler.ruler_score_group(
                groups[index % len(groups)],
                judge_model="openai/scripted",
                extra_litellm_params=params,
            )
            seconds.append(time.perf_counter() - start)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return seconds


def percentile_ms(seconds: Sequence[float], share: float) -> float:
    """The nearest-rank percentile in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def measure(args: argparse.Namespace) -> dict[str, object]:
    """Warm up, rank, and return the numbers."""
    groups = load_groups(args.groups, args.num_groups)
    params: dict[str, object] = {"api_base": args.judge_url, "api_key": "none"}
    await rank_all(groups, num_groups=args.warm_up, in_flight=args.in_flight, params=params)
    wall, cpu = time.perf_counter(), time.process_time()
    seconds = await rank_all(
        groups, num_groups=args.num_groups, in_flight=args.in_flight, params=params
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "groups": len(seconds),
        "in_flight": args.in_flight,
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "cpu_ms_per_group": round(1000 * cpu / len(seconds), 3),
        "p50_ms": round(percentile_ms(seconds, 0.50), 2),
        "p99_ms": round(percentile_ms(seconds, 0.99), 2),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "groups_per_s": round(len(seconds) / wall, 2),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in DISTRIBUTIONS},
    }


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {number}")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description="Time openpipe-art's RULER on a file of groups.")
    parser.add_argument("--groups", type=Path, required=True, help="JSON lines in Podium's form")
    parser.add_argument("--judge-url", required=True, help="for example http://127.0.0.1:9000/v1")
    parser.add_argument("--in-flight", type=positive, default=1)
    parser.add_argument("--num-groups", type=positive, required=True)
    parser.add_argument("--warm-up", type=positive, default=8, help="groups ranked off the clock")
    args = parser.parse_args()
    # RULER and litellm write their notices to standard output.
    with contextlib.redirect_stdout(sys.stderr):
        numbers = asyncio.run(measure(args))
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
