"""Build a `Trainer` with all its parts from a config, and refuse at once what cannot work."""

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import torch
import yaml

from podium.blocking_client import RankClient
from podium.errors import RankError
from podium_trainer.config import OptimizerConfig, TrainConfig
from podium_trainer.evaluation.baseline import BaselineError
from podium_trainer.evaluation.evaluator import Evaluator
from podium_trainer.policy.chat import ChatError
from podium_trainer.policy.load import PolicyError, check_model_path, load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.records.checkpoint import (
    CheckpointError,
    RunState,
    checkpoint_path,
    checkpoints,
    flush_file,
    load_optimizer,
    read_state,
    set_aside_after,
)
from podium_trainer.records.metrics import (
    JsonlFile,
    Listener,
    MetricsError,
    drop_rows_after,
    read_rows,
)
from podium_trainer.records.rollouts.file import NAME, RolloutsFile, drop_steps_after
from podium_trainer.records.run_log import RunLog
from podium_trainer.records.trackers import (
    TIME,
    Prefixed,
    Together,
    TrackerError,
    check_trackers,
    open_trackers,
)
from podium_trainer.records.watcher import Watcher
from podium_trainer.rollout.rollout import PromptTooLong, Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.run.parity import ParityError, check_parity
from podium_trainer.run.preflight import PreflightError, check_service
from podium_trainer.run.prompts import fit_prompts
from podium_trainer.run.recipe import Resume
from podium_trainer.samplers import Sampler, SamplerError
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.vllm_servers import VllmServers
from podium_trainer.samplers.weight_sync import FullReload, LoraSwap, SharedWeights, WeightSync
from podium_trainer.tasks import open_task
from podium_trainer.tasks.system import with_system
from podium_trainer.tasks.task import TaskError
from podium_trainer.train import Trainer, TrainingStopped
from podium_trainer.update.learning_rate import default_rate
from podium_trainer.update.update import UpdateError


class StartError(Exception):
    """The run cannot start; the message is one line that says why and what to do."""


NEW_RUN = Resume()
KNOWN_ERRORS = (
    BaselineError,
    ChatError,
    CheckpointError,
    MetricsError,
    ParityError,
    PolicyError,
    PromptTooLong,
    RankError,
    SamplerError,
    PreflightError,
    StartError,
    TaskError,
    TrackerError,
    TrainingStopped,
    UpdateError,
)


@contextmanager
def open_trainer(
    config: TrainConfig, watcher: Watcher, resume: Resume = NEW_RUN
) -> Iterator[Trainer]:
    """Open all parts of a run, and close them when the block ends."""
    with ExitStack() as stack:
        seed_everything(config.seed)
        check_trackers(config)
        check_model_path(config.model.path)
        task = with_system(open_task(config.task.name, config.task.options), config.task.system)
        checkpoint = find_checkpoint(config, resume)
        state = read_state(checkpoint) if checkpoint else RunState()
        check_service(config.service, config.eval.judge)
        # The trainer counts idle steps itself, over all batches of a step.
        client = stack.enter_context(
            RankClient(config.service.url, deadline_s=config.service.deadline_s, max_dry=None)
        )
        servers = None
        if config.sampler.kind == "vllm":
            watcher.phase("connecting to the vLLM servers")
            servers = stack.enter_context(open_servers(config.sampler, watcher.note))
        watcher.phase("loading the model")
        policy = load_policy(
            config.model,
            temperature=config.sampler.temperature,
            needs_reference=config.loss.kl != "none",
            weights=checkpoint / "weights" if checkpoint else None,
        )
        resolved = with_learning_rate(config, policy, watcher)
        optimizer = open_optimizer(resolved.optimizer, policy)
        if checkpoint:
            load_optimizer(checkpoint, optimizer)
        sampler, sync = open_sampler(config, policy, servers)
        stack.callback(sampler.close)
        tools = stack.enter_context(ToolRunner(task.tools, timeout_s=config.task.tool_timeout_s))
        rollout = Rollout(
            task,
            policy.chat,
            sampler,
            tools,
            max_tokens=config.sampler.max_tokens,
            context=min(policy.context, servers.max_model_len) if servers else policy.context,
        )
        task, prompts = fit_prompts(task, rollout)
        sync.push(state.policy_version)
        watcher.phase("comparing sampler and policy")
        check_parity(
            policy,
            sampler,
            prompts,
            bound=config.sampler.parity_bound,
            max_tokens=config.sampler.max_tokens,
        )
        trackers = open_trackers(resolved, state.step)
        prepare_folder(config, state)
        log = open_log(config, trackers)
        stack.callback(log.close)
        yield Trainer(
            resolved, task=task, policy=policy, optimizer=optimizer, rollout=rollout,
            evaluator=Evaluator(resolved, task, rollout, client), client=client, sync=sync,
            state=state, log=log, watcher=watcher,
        )  # fmt: skip


def with_learning_rate(config: TrainConfig, policy: Policy, watcher: Watcher) -> TrainConfig:
    """Return the config with a number for the learning rate, and show the number."""
    rate, why = config.optimizer.lr, "as set"
    if rate is None:
        rate = default_rate(policy.num_parameters, is_lora=policy.is_lora)
        kind = "adapters on" if policy.is_lora else "all weights of"
        why = f"for {kind} a model of {policy.num_parameters / 1e6:.0f}M parameters"
    watcher.note(f"optimizer.lr {rate:g}, {why}")
    optimizer = config.optimizer.model_copy(update={"lr": rate})
    return config.model_copy(update={"optimizer": optimizer})


def open_optimizer(config: OptimizerConfig, policy: Policy) -> torch.optim.Optimizer:
    assert config.lr is not None
    return torch.optim.AdamW(
        policy.parameters(),
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def open_log(config: TrainConfig, trackers: Sequence[Listener]) -> RunLog:
    """Open the run's files, and have them and the trackers told what each step was."""
    metrics = JsonlFile(config.out / "metrics.jsonl")
    timings = JsonlFile(config.out / "timings.jsonl")
    prefixed = [Prefixed(tracker, TIME) for tracker in trackers]
    rollouts = RolloutsFile(config.out / NAME)
    return RunLog([metrics, *trackers], Together([timings, *prefixed]), [rollouts])


def seed_everything(seed: int) -> None:
    """Seed all process-wide generators, because a task may use them and LoRA adapters do.

    The run's own draws do not use them; they are seeded by the step.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def find_checkpoint(config: TrainConfig, resume: Resume) -> Path | None:
    """Return the checkpoint to resume from.

    It is None for a new run, and for a run that was killed before its first checkpoint.

    Raises:
        StartError: If `out` holds a run and --resume is not set, or holds another run.
    """
    if resume.is_wanted:
        check_same_run(config)
        saved = checkpoints(config.out / "checkpoints")
        if resume.step is None:
            return saved[-1] if saved else None
        wanted = checkpoint_path(config.out / "checkpoints", resume.step)
        if wanted not in saved:
            known = ", ".join(path.name for path in saved) or "none"
            raise StartError(f"--resume-from {resume.step}: no such checkpoint; there are: {known}")
        return wanted
    if read_rows(config.out / "metrics.jsonl"):
        raise StartError(f"{config.out} already holds a run: add --resume or choose another --out")
    return None


def check_same_run(config: TrainConfig) -> None:
    """Raise StartError if model, task or seed are not those that the run began with."""
    path = config.out / "config.yaml"
    if not path.is_file():
        raise StartError(f"{config.out} holds no run: check --out, or start without --resume")
    began, now = yaml.safe_load(path.read_text()), config.model_dump(mode="json")
    for name in ("model.path", "model.lora", "model.tool_format", "model.reasoning_format",
                 "model.chat_template_kwargs", "task.name", "task.system", "seed"):  # fmt: skip
        first, second = (reduce(dict.__getitem__, name.split("."), each) for each in (began, now))
        if first != second:
            raise StartError(
                f"{name} {second!r} is not what {config.out} began with ({first!r}): resume with"
                " the same, or choose another --out"
            )


def open_sampler(
    config: TrainConfig, policy: Policy, servers: VllmServers | None
) -> tuple[Sampler, WeightSync]:
    settings = config.sampler
    if servers is None:
        local = LocalSampler(policy, temperature=settings.temperature, max_rows=settings.max_rows)
        return local, SharedWeights(local)
    sampler = VllmSampler(
        servers,
        stop_ids=sorted(policy.chat.stop_ids),
        temperature=settings.temperature,
        timeout_s=settings.timeout_s,
    )
    base = settings.weights_dir
    own_name = f"{config.out.name}-{zlib.crc32(str(config.out.resolve()).encode()):08x}"
    folder = base / own_name if base else config.out / "weights"
    sync = LoraSwap if policy.is_lora else FullReload
    return sampler, sync(policy, sampler, folder, timeout_s=settings.admin_timeout_s)


def prepare_folder(config: TrainConfig, state: RunState) -> None:
    """Make the folder `out`, write the config, and drop the rows of steps that are done again.

    Raises:
        StartError: If a file cannot be written.
    """
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        partial = config.out / ".config.yaml"
        partial.write_text(text)
        flush_file(partial)
        partial.replace(config.out / "config.yaml")
        for name in ("metrics.jsonl", "timings.jsonl"):
            drop_rows_after(config.out / name, state.step if state.step else -1)
        drop_steps_after(config.out / NAME, state.step if state.step else -1)
        set_aside_after(config.out / "checkpoints", state.step)
    except (OSError, ValueError) as error:
        raise StartError(f"out {config.out} cannot be used: {error}") from error
