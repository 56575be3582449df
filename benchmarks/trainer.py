"""One training step beside TRL's and beside bare torch: CPU time and memory.

    python -m benchmarks.trainer --trl-python PYTHON [--model DIR]

Same model, prompts, number of completions and tokens, dtype and optimizer; one thread each, one
process after the other. TRL (`pip install trl`) lives in an environment of its own. Generation and
update are timed apart, rewards left out. The floor is what cannot be saved: the forward pass, the
backward pass and the optimizer's step on the same tokens, one padded row per completion.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.from_scratch import save_model
from podium_trainer.config import LossConfig, ModelConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.tasks.task import Prompt, Task
from podium_trainer.update.groups import with_advantage
from podium_trainer.update.update import update

WARM_UP = 2
Job = dict[str, Any]
Step = list[float]  # CPU s, s, CPU s of generation, s of generation


def read_job(job: Job) -> tuple[Policy, torch.optim.Optimizer]:
    torch.set_num_threads(1)
    config = ModelConfig(path=job["model"], device="cpu", autocast=job["bf16"])
    policy = load_policy(config, temperature=1.0)
    policy.chat.stop_ids = frozenset()  # every completion has all its tokens
    return policy, torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True)


def rolled_out(policy: Policy, job: Job) -> tuple[Rollout, list[Prompt]]:
    prompts = [Prompt(text, [{"role": "user", "content": text}]) for text in job["prompts"]]
    sampler = LocalSampler(policy, temperature=1.0)
    rollout = Rollout(
        Task(prompts), policy.chat, sampler, ToolRunner((), timeout_s=1),
        max_tokens=job["max_tokens"], context=policy.context,
    )  # fmt: skip
    return rollout, prompts


def samples_of(rollout: Rollout, prompts: list[Prompt], job: Job, step: int) -> list[Sample]:
    groups = rollout.sample_groups(prompts, job["group_size"], seed=str(step))
    centre = (job["group_size"] - 1) / 2
    return [
        with_advantage(attempt.samples[0], number - centre)
        for group in groups
        for number, attempt in enumerate(group)
    ]


def podium(job: Job) -> list[Step]:
    """Measure rollout and update as `podium-train` does them."""
    policy, optimizer = read_job(job)
    rollout, prompts = rolled_out(policy, job)
    steps = []
    for step in range(job["steps"]):
        started = time.process_time(), time.perf_counter()
        samples = samples_of(rollout, prompts, job, step)
        generated = time.process_time(), time.perf_counter()
        update(
            policy, optimizer, [[[one] for one in samples]], LossConfig(),
            max_completion_tokens=job["max_tokens"],
            micro_batch_tokens=job["micro_batch_tokens"], max_grad_norm=1.0,
        )  # fmt: skip
        ended = time.process_time(), time.perf_counter()
        spent = [end - start for start, end in zip(started, ended, strict=True)]
        steps.append(spent + [end - start for start, end in zip(started, generated, strict=True)])
    return steps


def floor(job: Job) -> list[Step]:
    """Measure bare torch on the same tokens: no generation."""
    policy, optimizer = read_job(job)
    samples = samples_of(*rolled_out(policy, job), job, 0)
    longest = max(len(sample.token_ids) for sample in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sample in enumerate(samples):  # padded on the left: completions end together
        ids[row, longest - len(sample.token_ids) :] = torch.tensor(sample.token_ids)
        mask[row, longest - len(sample.token_ids) :] = 1
    keep = job["max_tokens"] + 1
    steps = []
    for _ in range(job["steps"]):
        started = time.process_time(), time.perf_counter()
        with policy.autocast():
            logits = policy.model(ids, attention_mask=mask, logits_to_keep=keep).logits[:, :-1]
        logprobs = logits.float().log_softmax(-1).gather(2, ids[:, 1 - keep :, None])
        (-logprobs.mean()).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ended = time.process_time(), time.perf_counter()
        steps.append([end - start for start, end in zip(started, ended, strict=True)] + [0.0, 0.0])
    return steps


SIDES = {"podium": podium, "floor": floor}


def measure(side: str, job: Job, trl_python: Path) -> Job:
    """Run one side in a process of its own."""
    words = json.dumps(job)
    command = (
        [str(trl_python), str(Path(__file__).parent / "trl_peer.py"), words]
        if side == "trl"
        else [sys.executable, "-m", "benchmarks.trainer", "--side", side, "--job", words]
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{side} failed: {done.stderr[-2000:]}")
    found: Job = json.loads(done.stdout.strip().splitlines()[-1])
    steps = found["steps"][WARM_UP:]
    medians = [statistics.median(step[i] for step in steps) for i in range(4)]
    cpu, wall, generation, _ = medians
    return {
        "cpu_ms": 1000 * cpu, "generation_ms": 1000 * generation,
        "update_ms": 1000 * (cpu - generation), "wall_ms": 1000 * wall,
        "peak_mib": found["peak_mib"], "steps": len(steps),
    }  # fmt: skip


def words(count: int, length: int, alphabet: str) -> list[str]:
    """Return prompts that share nothing but their template."""
    draw = random.Random(0)
    return ["".join(draw.choices(alphabet, k=length)) for _ in range(count)]


def show(name: str, rows: dict[str, Job], tokens: int) -> None:
    print(f"\n{name}: {tokens} sampled tokens a step, CPU ms, medians")
    print(f"{'':8}{'step':>10}{'generation':>12}{'update':>10}{'peak MiB':>10}")
    for side, row in rows.items():
        cells = f"{row['cpu_ms']:10.1f}{row['generation_ms']:12.1f}{row['update_ms']:10.1f}"
        print(f"{side:8}{cells}{row['peak_mib']:10.0f}")
    ours, trl, bare = rows["podium"], rows["trl"], rows["floor"]
    print(
        f"TRL / Podium: step {trl['cpu_ms'] / ours['cpu_ms']:.2f},"
        f" generation {trl['generation_ms'] / ours['generation_ms']:.2f},"
        f" update {trl['update_ms'] / ours['update_ms']:.2f};"
        f" Podium / TRL peak memory {ours['peak_mib'] / trl['peak_mib']:.2f};"
        f" Podium's update / floor {ours['update_ms'] / bare['update_ms']:.2f}",
        flush=True,
    )


def main(
    trl_python: Annotated[Path, typer.Option(help="A Python that has TRL.")] = Path("python"),
    model: Annotated[Path | None, typer.Option(help="Also SmolLM2, in this folder.")] = None,
    tiny_steps: int = 60,
    model_steps: int = 6,
    bf16: Annotated[bool, typer.Option(help="bfloat16 autocast on all sides.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write JSON.")] = None,
    side: Annotated[str, typer.Option(hidden=True)] = "",
    job: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print a table for a 332k-parameter model and, with --model, one for that model."""
    if side:
        steps = SIDES[side](json.loads(job))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"steps": steps, "peak_mib": peak}))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "tiny", seed=0)
        shared = {"group_size": 8, "max_tokens": 16, "out": folder, "bf16": bf16}
        digits = {"prompts": words(8, 24, "0123456789+"), "micro_batch_tokens": 4096}
        jobs: dict[str, Job] = {
            "tiny": shared | digits | {"model": f"{folder}/tiny", "steps": tiny_steps}
        }
        if model is not None:
            letters = {"prompts": words(8, 64, "abcdefgh "), "micro_batch_tokens": 1024}
            jobs["smollm2"] = shared | letters | {"model": str(model), "steps": model_steps}
        for name, each in jobs.items():
            rows = {kind: measure(kind, each, trl_python) for kind in ("podium", "trl", "floor")}
            show(name, rows, 8 * 8 * 16)
            found[name] = rows
    if out is not None:
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
