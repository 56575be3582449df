"""A run with `max_staleness` 0 is, bit for bit, a plain loop: gather, update, push."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import pytest
import torch

from podium_trainer.config import TrainConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.records.metrics import Row, read_rows
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.records.rows.metrics import metrics_row
from podium_trainer.run.build import open_trainer
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.samplers.weight_sync import SharedWeights
from podium_trainer.tasks.task import PromptCursor
from podium_trainer.train import Trainer
from podium_trainer.update.denominators import trained_share
from podium_trainer.update.groups import RankedGroup, group_advantages, to_samples, to_wire
from podium_trainer.update.learning_rate import learning_rate
from podium_trainer.update.update import update
from tests.trainer.runs import Recorder, settings

STEPS, PROMPTS, GROUP_SIZE, REFILLS = 3, 4, 4, 1


class ApartSampler(LocalSampler):
    """Draws each group by itself, in any thread, with the weights in training."""

    in_lockstep = False

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, temperature=1.0)
        self._lock = Lock()

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        with self._lock:
            return super().sample(requests, seed=seed)


def play_apart(trainer: Trainer) -> None:
    sampler = ApartSampler(trainer.policy)
    trainer.rollout.sampler, trainer.sync = sampler, SharedWeights(sampler)


def gather_plainly(trainer: Trainer, cursor: PromptCursor, step: int) -> Gathered:
    """Play all groups, then have them ranked one by one, then replace those without signal."""
    gathered = Gathered(group_size=GROUP_SIZE)
    for attempt in range(1 + REFILLS):
        seed = f"{trainer.config.seed}/{step}/{attempt}"
        prompts = cursor.take(PROMPTS - len(gathered.kept))
        groups = trainer.rollout.sample_groups(prompts, GROUP_SIZE, seed=seed)
        for prompt, attempts in zip(prompts, groups, strict=True):
            wire = to_wire(
                prompt, attempts, step=step, judge=None, rubric=None, tools=[], run="run", steps=9
            )
            answer = trainer.gatherer.ranker.client.rank(wire)
            gathered.seen.append(RankedGroup(prompt, attempts, answer))
        gathered.kept = [group for group in gathered.seen if group.has_signal]
    return gathered


def train_plainly(trainer: Trainer) -> list[Row]:
    """Take the steps of a run one after the other, by the trainer's parts and not by its loop."""
    config, cursor = trainer.config, PromptCursor(trainer.task.train, 0)
    rows: list[Row] = []
    for step in range(1, STEPS + 1):
        gathered = gather_plainly(trainer, cursor, step)
        rate = learning_rate(config.optimizer, step, config.steps)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        stats = update(
            trainer.policy, trainer.optimizer,
            to_samples(gathered.kept, "mean", mask_truncated=False), config.loss,
            max_completion_tokens=config.sampler.max_tokens,
            micro_batch_tokens=config.optimizer.micro_batch_tokens,
            max_grad_norm=config.optimizer.max_grad_norm,
            share=trained_share(len(gathered.kept), gathered.num_ranked, PROMPTS),
        )  # fmt: skip
        trainer.sync.push(step)
        gathered.advantages = group_advantages(gathered.kept, "mean")
        rows.append({"step": step, **metrics_row(gathered, stats, None, step, rate)})
    return rows


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in trainer.policy.model.named_parameters()}


@pytest.mark.parametrize("prepare", [lambda trainer: None, play_apart], ids=["local", "apart"])
def test_a_run_that_does_not_run_ahead_is_a_plain_loop(
    tmp_path: Path, service_url: str, prepare: Callable[[Trainer], None]
) -> None:
    rollout = {"prompts_per_step": PROMPTS, "group_size": GROUP_SIZE, "max_refills": REFILLS}
    config = TrainConfig.model_validate(
        settings(tmp_path, service_url, steps=STEPS, rollout=rollout)
    )
    with open_trainer(config, Recorder()) as trainer:
        prepare(trainer)
        rows, weights = train_plainly(trainer), weights_of(trainer)
    shutil.rmtree(config.out)
    with open_trainer(config, Recorder()) as trainer:
        prepare(trainer)
        trainer.run()
        found = weights_of(trainer)
    assert read_rows(config.out / "metrics.jsonl")[1:] == rows
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in found)
