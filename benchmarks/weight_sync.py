"""New weights to a vLLM server on this machine: by files and over the network.

    VLLM_CPU_KVCACHE_SPACE=2 python -m benchmarks.weight_sync --model DIR --vllm-python PATH
        [--dtype float32] [--repeats 5] [--json FILE]

Starts one server that takes both, and pushes the same policy by turns. `push` is what a step waits
for; `server waits` is the part in which the server draws nothing, measured by a second give of the
same push. `mean |log ratio|` compares sampler and policy after the last push.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.machine import machine
from podium_trainer.config import ModelConfig, SamplerConfig, TrainConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.run.checks.parity import check_parity
from podium_trainer.samplers.launch.launcher import Launcher
from podium_trainer.samplers.launch.open import planned
from podium_trainer.samplers.stream.stream import WeightStream
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.weight_sync import FullReload

PROMPT = [{"role": "user", "content": "3 + 4 ="}]
LIMIT_S = 300.0


def main(
    model: Annotated[Path, typer.Option(help="The policy.")],
    vllm_python: Annotated[Path, typer.Option(help="Python of an environment with vLLM.")],
    dtype: Annotated[str, typer.Option(help="What the server computes in.")] = "float32",
    repeats: Annotated[int, typer.Option(help="Pushes by each way.")] = 5,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(model, vllm_python, dtype, repeats, Path(folder))
    print(table(rows))
    if out is not None:
        versions = {name: version(name) for name in ("torch", "transformers")}
        found = {"machine": machine() | {"libraries": versions}, "model": model.name,
                 "dtype": dtype, "repeats": repeats, "rows": rows}  # fmt: skip
        out.write_text(json.dumps(found, indent=2) + "\n")


def measure(
    model: Path, vllm_python: Path, dtype: str, repeats: int, folder: Path
) -> list[dict[str, Any]]:
    """Start a server, and push by each way in turn."""
    options = {"dtype": dtype, "enforce-eager": True, "max-model-len": 2048}
    config = TrainConfig.model_validate({
        "model": {"path": str(model), "autocast": False}, "task": {"name": "addition"},
        "out": folder / "run", "rollout": {"max_staleness": 0},
        "sampler": {"kind": "vllm", "launch": True, "weight_sync": "stream",
                    "vllm": {"python": vllm_python, "options": options}},
    })  # fmt: skip
    policy = load_policy(ModelConfig(path=str(model), autocast=False), temperature=1.0)
    with (
        planned(config) as (plans, start),
        Launcher(plans, start=start, start_s=LIMIT_S, note=print) as launcher,
    ):
        settings = SamplerConfig(kind="vllm", urls=launcher.urls)
        with open_servers(settings) as servers:
            sampler = VllmSampler(servers, stop_ids=[], temperature=1.0, timeout_s=LIMIT_S)
            disk = FullReload(policy, sampler, folder / "weights", timeout_s=LIMIT_S)
            stream = WeightStream(policy, sampler, timeout_s=LIMIT_S)
            ways: dict[str, Callable[[int], None]] = {"disk": disk.push, "stream": stream.push}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for number in range(repeats * len(ways)):
                name = list(ways)[number % len(ways)]
                change(policy)
                times[name].append(timed(sampler, partial(ways[name], number)))
            prompt = policy.chat.encode(policy.chat.render(PROMPT, None))
            rows: list[dict[str, Any]] = []
            for name, push in ways.items():
                push(repeats * len(ways) + len(rows))
                parity = check_parity(policy, sampler, [prompt], bound=1.0)
                rows.append(summary(name, times[name], parity.mean_abs_log_ratio))
            stream.close()
    return rows


def timed(sampler: VllmSampler, push: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of a push, and those that the server waits in it."""
    started = time.perf_counter()
    push()
    pushed_at = time.perf_counter()
    present = sampler.servers.membership.push
    assert present is not None
    [server] = sampler.servers.membership.members
    sampler.servers.run(partial(present.give, server))
    return pushed_at - started, time.perf_counter() - pushed_at


def change(policy: Policy) -> None:
    """Change the weights as an update does."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.0 + 1e-6)


def summary(name: str, times: list[tuple[float, float]], log_ratio: float) -> dict[str, Any]:
    """Return the row of one way."""
    pushes, waits = zip(*times, strict=True)
    return {
        "way": name,
        "push_s": [round(value, 3) for value in (statistics.median(pushes), *ends(pushes))],
        "server_waits_s": [round(value, 3) for value in (statistics.median(waits), *ends(waits))],
        "mean_abs_log_ratio": log_ratio,
    }


def ends(values: tuple[float, ...]) -> tuple[float, float]:
    return min(values), max(values)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table of Markdown."""
    lines = [
        "| way | push, s: median (least to most) | server waits, s | mean \\|log ratio\\| |",
        "|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            "{:.2f} ({:.2f} to {:.2f})".format(*row[name]) for name in ("push_s", "server_waits_s")
        ]
        lines.append(f"| {row['way']} | {' | '.join(cells)} | {row['mean_abs_log_ratio']:.2g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
