"""A config → a `Trainer` with all its parts. What can be known to be wrong is said here."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
import yaml

from trainer_client.checkpoint import (
    CheckpointError,
    RunState,
    latest_checkpoint,
    load_optimizer,
    read_state,
)
from trainer_client.config import TrainConfig
from trainer_client.errors import RankError
from trainer_client.metrics import JsonlFile, drop_rows_after
from trainer_client.policy import Policy, PolicyError, load_policy
from trainer_client.reward_client import RankClient
from trainer_client.rollout import PromptTooLong, Rollout
from trainer_client.samplers import Sampler, SamplerError
from trainer_client.samplers.local import LocalSampler
from trainer_client.service_check import ServiceCheckFailed, check_service
from trainer_client.tasks import open_task
from trainer_client.tasks.task import TaskError
from trainer_client.tool_runner import ToolRunner
from trainer_client.train import Trainer, TrainingStopped, Watcher
from trainer_client.weight_sync import SharedWeights, WeightSync


class StartError(Exception):
    """The run cannot start; one line that says why and what to do."""


KNOWN_ERRORS = (
    CheckpointError,
    PolicyError,
    PromptTooLong,
    RankError,
    SamplerError,
    ServiceCheckFailed,
    StartError,
    TaskError,
    TrainingStopped,
)


@contextmanager
def open_trainer(config: TrainConfig, watcher: Watcher, *, resume: bool) -> Iterator[Trainer]:
    """Everything a run needs, closed again when the block ends."""
    with ExitStack() as stack:
        task = open_task(config.task.name, config.task.options)
        checkpoint = find_checkpoint(config.out, resume)
        state = read_state(checkpoint) if checkpoint else RunState()
        check_service(config.service)
        client = stack.enter_context(
            RankClient(config.service.url, deadline_s=config.service.deadline_s)
        )
        torch.manual_seed(config.seed)
        random.seed(config.seed)
        watcher.phase("loading the model")
        policy = load_policy(
            config.model,
            temperature=config.sampler.temperature,
            needs_reference=config.loss.kl != "none",
            weights=checkpoint / "weights" if checkpoint else None,
        )
        optimizer = torch.optim.AdamW(
            policy.parameters(),
            lr=config.optimizer.lr,
            betas=config.optimizer.betas,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        if checkpoint:
            load_optimizer(checkpoint, optimizer)
        sampler, sync = open_sampler(config, policy)
        stack.callback(sampler.close)
        tools = stack.enter_context(ToolRunner(task.tools, timeout_s=config.task.tool_timeout_s))
        rollout = Rollout(
            task,
            policy.chat,
            sampler,
            tools,
            max_tokens=config.sampler.max_tokens,
            context=policy.context,
        )
        for prompt in (*task.train, *task.held_out):
            rollout.prompt_ids(prompt)
        sync.push(state.policy_version)
        prepare_folder(config, state)
        metrics = [JsonlFile(config.out / "metrics.jsonl")]
        timings = JsonlFile(config.out / "timings.jsonl")
        for listener in (*metrics, timings):
            stack.callback(listener.close)
        yield Trainer(
            config, task=task, policy=policy, optimizer=optimizer, rollout=rollout, client=client,
            sync=sync, state=state, metrics=metrics, timings=timings, watcher=watcher,
        )  # fmt: skip


def find_checkpoint(out: Path, resume: bool) -> Path | None:
    if resume:
        return latest_checkpoint(out / "checkpoints")
    if (out / "metrics.jsonl").exists():
        raise StartError(f"{out} already holds a run: add --resume or choose another --out")
    return None


def open_sampler(config: TrainConfig, policy: Policy) -> tuple[Sampler, WeightSync]:
    sampler = LocalSampler(
        policy, temperature=config.sampler.temperature, max_rows=config.sampler.max_rows
    )
    return sampler, SharedWeights(sampler)


def prepare_folder(config: TrainConfig, state: RunState) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    (config.out / "config.yaml").write_text(text)
    for name in ("metrics.jsonl", "timings.jsonl"):
        drop_rows_after(config.out / name, state.step if state.step else -1)
