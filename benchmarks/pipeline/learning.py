"""What is learnt from tokens of older weights, with and without the correction for them.

    OMP_NUM_THREADS=1 python -m benchmarks.pipeline.learning [--seeds 3] [--steps 80]

`addition` with the model of 332k parameters of benchmarks.from_scratch, which is first shown
answers until it gives a right one to a fifth of the problems. A right answer has reward 1 and any
other 0. What is tried are the problems that are trained on.

Staleness is emulated, because a CPU has no room for servers that sample while it trains: a plain
loop of the trainer's rollout and update, whose sampler has a model of its own with the weights of K
updates before. So after the first K steps all tokens are exactly K updates old, as those of a run
that is always K steps ahead.

"Without correction" leaves the ratio of the policy to the sampler out of the loss, and masks no
sequence by it. Prints the score over steps; writes the runs as JSON after each one, and a picture.
About two minutes on one quiet core.
"""

import json
import statistics
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.from_scratch import save_model
from benchmarks.held_out import look
from benchmarks.machine import machine
from benchmarks.pipeline.plot import draw
from podium.answers import GroupReward
from podium_trainer.config import LossConfig, ModelConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.run.cli import silence_libraries
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.task import Prompt, PromptCursor
from podium_trainer.update.denominators import trained_share
from podium_trainer.update.groups import RankedGroup, to_samples
from podium_trainer.update.loss import LOSSES, LossInputs, LossOutputs, ppo_clip
from podium_trainer.update.update import UpdateStats, update

KNOWN_SHARE = 0.2
PROMPTS, GROUP_SIZE, MAX_TOKENS, CONTEXT = 16, 16, 3, 64
UNCORRECTED = "uncorrected"
SHOWN = ("k3", "max_ratio", "effective_share", "masked_sequences", "grad_norm")

Run = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        behind: the number of updates by which the sampler's weights are older.
        corrects: whether the loss corrects for that.
    """

    behind: int
    corrects: bool = True

    @property
    def name(self) -> str:
        return f"K = {self.behind}" + ("" if self.corrects else ", without correction")


ARMS = (Arm(0), Arm(1), Arm(1, corrects=False), Arm(4), Arm(4, corrects=False))


def without_correction(inputs: LossInputs) -> LossOutputs:
    """Compute `ppo_clip` as if the policy at the start of the update had drawn the tokens."""
    return ppo_clip(replace(inputs, behavior_logprobs_N=inputs.old_logprobs_N))


class OlderWeights:
    """Gives a sampler's own model the weights of some updates before."""

    def __init__(self, policy: Policy, sampler: LocalSampler, behind: int) -> None:
        self.policy = policy
        self.sampler = sampler
        self.kept: deque[tuple[int, list[torch.Tensor]]] = deque(maxlen=behind + 1)
        self.push(0)

    def push(self, version: int) -> None:
        """Keep the present weights, and sample from the oldest that are kept."""
        weights = [each.detach().clone() for each in self.policy.model.parameters()]
        self.kept.append((version, weights))
        self.sampler.policy_version, oldest = self.kept[0]
        with torch.no_grad():
            for own, value in zip(self.sampler.policy.model.parameters(), oldest, strict=True):
                own.copy_(value)


def teach(folder: Path, prompts: Sequence[Prompt], seed: int) -> None:
    """Write a model that has been shown answers until it knows enough to learn from its own."""
    save_model(folder, seed)
    policy = load(folder)
    chat, rows = policy.chat, []
    for prompt in prompts:
        shown = chat.encode(chat.render(prompt.messages, None))
        rows.append((shown, [*chat.encode(prompt.reference or ""), *chat.stop_ids]))
    longest = max(len(shown) + len(answer) for shown, answer in rows)
    ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    is_answer_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (shown, answer) in enumerate(rows):
        ids_BT[row, : len(shown) + len(answer)] = torch.tensor([*shown, *answer])
        is_answer_BT[row, len(shown) : len(shown) + len(answer)] = True
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    known = 0.0
    while known < KNOWN_SHARE:
        logprobs_BTV = policy.model(ids_BT).logits[:, :-1].log_softmax(-1)
        logprobs_BT = logprobs_BTV.gather(2, ids_BT[:, 1:, None])[..., 0] * is_answer_BT[:, 1:]
        known = float(logprobs_BT.detach().sum(1).exp().mean())
        (-logprobs_BT.sum() / is_answer_BT.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    policy.model.save_pretrained(folder)


def load(folder: Path) -> Policy:
    return load_policy(ModelConfig(path=str(folder), device="cpu", autocast=False), temperature=1.0)


class Loop:
    """A plain loop of rollout, update and push.

    Args:
        folder: of the model to start from.
        arm: how to train.
        seed: of the order of prompts and the draws.
        lr: the learning rate.
    """

    def __init__(self, folder: Path, arm: Arm, seed: int, lr: float) -> None:
        self.seed = seed
        self.task = addition(held_out=0)
        self.policy = load(folder)
        sampler = LocalSampler(load(folder), temperature=1.0)
        self.weights = OlderWeights(self.policy, sampler, arm.behind)
        self.older = self._rollout(sampler)
        self.present = self._rollout(LocalSampler(self.policy, temperature=1.0))
        self.cursor = PromptCursor(self.task.train, seed)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self.loss = LossConfig()
        if not arm.corrects:
            LOSSES[UNCORRECTED] = replace(LOSSES["dapo"], function=without_correction)
            changes = {"name": UNCORRECTED, "sequence_ratio_bounds": None}
            self.loss = self.loss.model_copy(update=changes)

    def _rollout(self, sampler: LocalSampler) -> Rollout:
        return Rollout(
            self.task, self.policy.chat, sampler, ToolRunner((), timeout_s=1),
            max_tokens=MAX_TOKENS, context=CONTEXT,
        )  # fmt: skip

    def take_step(self, step: int) -> UpdateStats | None:
        """Sample by the older weights, and update the present ones; None if all rewards tie."""
        prompts = self.cursor.take(PROMPTS)
        played = self.older.sample_groups(prompts, GROUP_SIZE, seed=f"{self.seed}/{step}")
        groups = [self._reward(*each) for each in zip(prompts, played, strict=True)]
        kept = [group for group in groups if group.has_signal]
        stats = None
        if kept:
            stats = update(
                self.policy, self.optimizer, to_samples(kept, "mean", mask_truncated=False),
                self.loss, max_completion_tokens=MAX_TOKENS, micro_batch_tokens=4096,
                max_grad_norm=1.0, share=trained_share(len(kept), PROMPTS, PROMPTS),
            )  # fmt: skip
        self.weights.push(step)
        return stats

    def _reward(self, prompt: Prompt, attempts: Any) -> RankedGroup:
        rewards = [self.task.score(prompt, each.messages) or 0.0 for each in attempts]
        return RankedGroup(prompt, attempts, GroupReward(rewards, True))

    def score(self, step: int, samples: int) -> float:
        """Return the share of right answers by the present weights."""
        prompts, seed = self.task.train, self.seed
        tried = look(self.task, self.present, step, samples=samples, seed=seed, prompts=prompts)
        return statistics.fmean(tried["scores"])


def train(loop: Loop, *, steps: int, look_every: int, samples: int) -> Run:
    """Take all steps, and try the problems every few steps."""
    looks, rows = [{"step": 0, "score": loop.score(0, samples)}], []
    for step in range(1, steps + 1):
        if stats := loop.take_step(step):
            rows.append({name: asdict(stats)[name] for name in SHOWN})
        if step % look_every == 0:
            looks.append({"step": step, "score": loop.score(step, samples)})
    return {"looks": looks, "rows": rows}


def show(runs: Sequence[Run]) -> None:
    """Print a row for each run."""
    steps = [str(each["step"]) for each in runs[0]["looks"]]
    table = Table("arm", "seed", *steps, "mean k3", "largest ratio", "masked")
    for run in runs:
        k3 = statistics.fmean(row["k3"] for row in run["rows"])
        ratio = max(row["max_ratio"] for row in run["rows"])
        masked = sum(row["masked_sequences"] for row in run["rows"])
        scores = [f"{each['score']:.2f}" for each in run["looks"]]
        numbers = [f"{k3:.4f}", f"{ratio:.1f}", str(masked)]
        table.add_row(run["arm"], str(run["seed"]), *scores, *numbers)
    Console(width=140).print(table)


def main(
    seeds: int = 3,
    steps: int = 80,
    look_every: int = 20,
    samples: Annotated[int, typer.Option(help="Attempts at a problem.")] = 4,
    lr: float = 3e-4,
    out: Annotated[Path, typer.Option(help="The file with all runs.")] = Path(
        "benchmarks/results/stale_learning.json"
    ),
    plot: Annotated[Path, typer.Option(help="The picture to write.")] = Path("docs/stale.png"),
) -> None:
    """Train with all arms, then print, write and draw what was learnt."""
    torch.set_num_threads(1)
    silence_libraries()
    runs: list[Run] = []
    setup = {"steps": steps, "samples": samples, "lr": lr, "prompts": PROMPTS, "group": GROUP_SIZE}
    versions = {name: version(name) for name in ("torch", "transformers")}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            teach(Path(name), addition(held_out=0).train, seed)
            for arm in ARMS:
                loop = Loop(Path(name), arm, seed, lr)
                run = train(loop, steps=steps, look_every=look_every, samples=samples)
                runs.append({"arm": arm.name, "seed": seed, **run})
                print(arm.name, seed, [f"{each['score']:.2f}" for each in run["looks"]], flush=True)
                found = {**machine(), **versions, "setup": setup, "runs": runs}
                out.write_text(json.dumps(found, indent=1) + "\n")
    show(runs)
    draw(runs, plot)


if __name__ == "__main__":
    typer.run(main)
