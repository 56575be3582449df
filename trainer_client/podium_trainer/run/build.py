"""Build a `Trainer` with all its parts from a config, and refuse at once what cannot work."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from podium.blocking_client import RankClient
from podium.errors import RankError
from podium_trainer.config import TaskConfig, TrainConfig
from podium_trainer.evaluation.baseline import BaselineError
from podium_trainer.evaluation.evaluator import Evaluator
from podium_trainer.policy.chat import Chat, ChatError
from podium_trainer.policy.load import PolicyError, check_model_path, load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.environment import RanksError
from podium_trainer.policy.ranks.processes import RankLost, Ranks
from podium_trainer.records.checkpoint import (
    CheckpointError,
    RunState,
    read_state,
)
from podium_trainer.records.made_with import describe
from podium_trainer.records.metrics import (
    JsonlFile,
    Listener,
    MetricsError,
)
from podium_trainer.records.rollouts.file import NAME, RolloutsFile
from podium_trainer.records.rollouts.table import Tables
from podium_trainer.records.run_log import RunLog
from podium_trainer.records.trackers import (
    TIME,
    Prefixed,
    Together,
    TrackerError,
    Trackio,
    Wandb,
    check_trackers,
    open_trackers,
)
from podium_trainer.records.watcher import OneAtATime, Watcher
from podium_trainer.rollout.environments.environments import open_environments
from podium_trainer.rollout.rollout import PromptTooLong, Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.run.checks.common_folder import FolderError
from podium_trainer.run.checks.parity import ParityError, check_parity
from podium_trainer.run.checks.preflight import PreflightError, check_service
from podium_trainer.run.checks.prompts import fit_prompts
from podium_trainer.run.folder import (
    LockError,
    StartError,
    accept_changes,
    find_checkpoint,
    lock_folder,
    prepare_folder,
)
from podium_trainer.run.interrupt import finishing
from podium_trainer.run.learner import open_learner, seed_everything
from podium_trainer.run.recipe import Resume
from podium_trainer.samplers import Sampler, SamplerError
from podium_trainer.samplers.launch.open import Asleep, open_vllm
from podium_trainer.samplers.local import CopiedWeights, LocalSampler
from podium_trainer.samplers.stream.stream import WeightStream
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_servers import VllmServers
from podium_trainer.samplers.weight_sync import FullReload, LoraSwap, SharedWeights, WeightSync
from podium_trainer.tasks import open_task
from podium_trainer.tasks.reward import sends_reward, with_reward
from podium_trainer.tasks.system import with_system
from podium_trainer.tasks.task import Task, TaskError
from podium_trainer.train import Trainer, TrainingStopped
from podium_trainer.update.learning_rate import default_rate
from podium_trainer.update.update import UpdateError

NEW_RUN = Resume()
KNOWN_ERRORS = (
    BaselineError,
    ChatError,
    CheckpointError,
    FolderError,
    LockError,
    MetricsError,
    ParityError,
    PolicyError,
    PromptTooLong,
    RankError,
    RankLost,
    RanksError,
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
    config: TrainConfig, watcher: Watcher, resume: Resume = NEW_RUN, ranks: Ranks | None = None
) -> Iterator[Trainer]:
    """Open all parts of a run, and close them when the block ends.

    With several ranks, rank 0 calls it, and the others call `follow`.
    """
    ranks = ranks or Ranks()
    check_colocation(config, ranks)
    watcher = OneAtATime(watcher)  # gathers, servers and the client call it from their threads
    with ExitStack() as stack:
        seed_everything(config.seed)
        check_trackers(config)
        check_model_path(config.model.path)
        stack.enter_context(lock_folder(config.out))
        checkpoint = find_checkpoint(config, resume)
        task = open_whole_task(config.task)
        made_with = describe(config, task)
        for change in accept_changes(checkpoint, made_with, resume) if checkpoint else ():
            watcher.note(f"changed: {change}")
        state = read_state(checkpoint) if checkpoint else RunState()
        for line in check_service(
            config.service, config.eval.judge, sends_reward(task), run=config.run_name
        ):
            watcher.note(line)
        # The trainer counts idle steps itself, over all batches of a step.
        client = stack.enter_context(
            RankClient(config.service.url, deadline_s=config.service.deadline_s, max_dry=None)
        )
        servers, asleep = stack.enter_context(open_vllm(config, watcher.phase, watcher.note))
        watcher.phase("loading the model")
        with ranks.lead("open", config, checkpoint):
            policy, optimizer = open_learner(ranks, config, checkpoint)
        ranks.shield = finishing  # from now on there is something to save
        resolved = with_learning_rate(config, policy, watcher)
        for group in optimizer.param_groups:
            group["lr"] = resolved.optimizer.lr  # until the first step
        sampler, sync = open_sampler(config, policy, servers)
        stack.callback(sampler.close)
        stack.callback(sync.close)
        context = min(policy.context, servers.max_model_len) if servers else policy.context
        rollout = stack.enter_context(open_rollout(config, task, policy.chat, sampler, context))
        task, prompts = fit_prompts(task, rollout)
        sync.push(state.policy_version)
        watcher.phase("comparing sampler and policy")
        bound, max_tokens = config.sampler.parity_bound, config.sampler.max_tokens
        check_parity(policy, sampler, prompts, bound=bound, max_tokens=max_tokens)
        trackers = open_trackers(resolved, state.step)
        prepare_folder(config, state, resume.launch)
        log = open_log(config, trackers)
        stack.callback(log.close)
        yield Trainer(
            resolved, task=task, policy=policy, optimizer=optimizer, rollout=rollout,
            evaluator=Evaluator(resolved, task, rollout, client), client=client, sync=sync,
            state=state, made_with=made_with, log=log, watcher=watcher,
            updating=partial(updating, asleep),
        )  # fmt: skip


@contextmanager
def updating(asleep: Asleep) -> Iterator[None]:
    """Let a server that shares the GPU sleep while the block runs, which a signal does not end."""
    with asleep(), finishing():
        yield


def check_colocation(config: TrainConfig, ranks: Ranks) -> None:
    """Refuse to share the GPU of one rank with vLLM, since the others would wait for it."""
    if ranks.are_many and config.sampler.colocate:
        raise RanksError(
            f"sampler.colocate: vLLM would share the GPU of one of {ranks.size} ranks: set it to"
            " false, and leave GPUs for vLLM servers, or start one process"
        )


def open_whole_task(config: TaskConfig) -> Task:
    """Open a task, with the system prompt and the reward that the recipe gives it."""
    task = with_system(open_task(config.name, config.options), config.system)
    return with_reward(task, config.reward)


@contextmanager
def open_rollout(
    config: TrainConfig, task: Task, chat: Chat, sampler: Sampler, context: int
) -> Iterator[Rollout]:
    """Open what plays attempts, with the processes of tools and environments."""
    with (
        ToolRunner(task.tools, timeout_s=config.task.tool_timeout_s) as tools,
        open_environments(task.environment, config.environment) as environments,
    ):
        yield Rollout(
            task,
            chat,
            sampler,
            tools,
            environments=environments,
            max_tokens=config.sampler.max_tokens,
            context=context,
        )


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


def open_log(config: TrainConfig, trackers: Sequence[Listener]) -> RunLog:
    """Open the run's files, and have them and the trackers told what each step was."""
    metrics = JsonlFile(config.out / "metrics.jsonl")
    timings = JsonlFile(config.out / "timings.jsonl")
    prefixed = [Prefixed(tracker, TIME) for tracker in trackers]
    rollouts = RolloutsFile(config.out / NAME)
    shown = [tracker for tracker in trackers if isinstance(tracker, Wandb | Trackio)]
    tables = Tables(shown, config.log.samples_every)
    return RunLog([metrics, *trackers], Together([timings, *prefixed]), [rollouts, tables])


def open_sampler(
    config: TrainConfig, policy: Policy, servers: VllmServers | None
) -> tuple[Sampler, WeightSync]:
    settings = config.sampler
    if servers is None and policy.ranks.are_many:  # rank 0 samples from a copy of the whole model
        copy = load_policy(config.model, temperature=settings.temperature)
        local = LocalSampler(copy, temperature=settings.temperature, max_rows=settings.max_rows)
        return local, CopiedWeights(policy, local)
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
    own_name = f"{config.run_name}-{zlib.crc32(str(config.out.resolve()).encode()):08x}"
    folder = base / own_name if base else config.out / "weights"
    limit_s = settings.admin_timeout_s
    if policy.is_lora:
        return sampler, LoraSwap(policy, sampler, folder, timeout_s=limit_s)
    if settings.weight_sync == "stream":
        return sampler, WeightStream(
            policy, sampler, timeout_s=limit_s, dtype=settings.dtype, shares_gpu=settings.colocate
        )
    sync = FullReload(policy, sampler, folder, timeout_s=limit_s, dtype=settings.dtype)
    return sampler, sync
