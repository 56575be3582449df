"""Plan the vLLM servers of a run: the command, the GPUs and the log of each."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from podium.weights.plugin import BACKEND
from podium_trainer.config import TrainConfig
from podium_trainer.policy.load import choose_device
from podium_trainer.samplers import SamplerError

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM takes as --max-lora-rank
SHARED_MEMORY = 0.4  # the share of a GPU's memory that a server takes beside the trainer
NEEDED = {
    "VLLM_SERVER_DEV_MODE": "1",  # for the routes that pause, reload and sleep
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
}
# What torchrun sets. A server that finds it looks for a store that torchrun has for the ranks.
OF_RANKS = (
    "GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
    "MASTER_PORT", "RANK", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "WORLD_SIZE",
)  # fmt: skip
OF_TORCHRUN = "TORCHELASTIC_"


@dataclass(frozen=True)
class ServerPlan:
    """A server that is to be started, at an address that it gets then.

    Attributes:
        command: what is run, without the address.
        log: the file that gets its output.
        environment: the variables that it gets beside those of the process that starts it.
        num_gpus: the GPUs that it needs where Ray chooses them.
        shares_gpu: whether one of its GPUs is the trainer's.
    """

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    num_gpus: int = 0
    shares_gpu: bool = False

    def command_at(self, host: str, port: int) -> list[str]:
        """Return the command that serves at an address."""
        return [*self.command, f"--host={host}", f"--port={port}"]


def plan_servers(config: TrainConfig) -> list[ServerPlan]:
    """Plan the servers of a run on this machine.

    Raises:
        SamplerError: If there are too few GPUs, or `sampler.colocate` is set without one.
    """
    settings = config.sampler
    device = choose_device(config.model)
    if settings.colocate and device.type == "cpu":
        raise SamplerError(
            "sampler.colocate: vLLM can sleep on a GPU only, and the trainer runs on the CPU: set"
            " sampler.colocate to false"
        )
    visible, own = leave_to_ranks(visible_gpus(), own_gpu(device), os.environ)
    shares = deal_gpus(
        visible, own,
        servers=settings.servers, each=settings.vllm.gpus, colocate=settings.colocate,
    )  # fmt: skip
    return [
        ServerPlan(
            serve_command(config),
            log_of(config, number),
            environment=needed(config)
            | ({"CUDA_VISIBLE_DEVICES": ",".join(share)} if share else {}),
            shares_gpu=settings.colocate and number == 0,
        )
        for number, share in enumerate(shares)
    ]


def plan_for_ray(config: TrainConfig, *, has_gpus: bool) -> list[ServerPlan]:
    """Plan the servers of a run on machines and GPUs that Ray chooses.

    Args:
        config: all settings of the run.
        has_gpus: whether the servers compute on GPUs.

    Raises:
        SamplerError: If `sampler.colocate` is set.
    """
    settings = config.sampler
    if settings.colocate:
        raise SamplerError(
            "sampler.colocate: a server shares the GPU of a run on one machine only: set"
            " sampler.colocate to false, or leave out --ray"
        )
    num_gpus = settings.vllm.gpus if has_gpus else 0
    return [
        ServerPlan(
            serve_command(config),
            log_of(config, number),
            environment=needed(config),
            num_gpus=num_gpus,
        )
        for number in range(settings.servers)
    ]


def needed(config: TrainConfig) -> dict[str, str]:
    """Return the variables that a server needs.

    VLLM_PLUGINS, where it is set, names all plugins that vLLM may load.
    """
    named = os.environ.get("VLLM_PLUGINS")
    if config.sampler.weight_sync != "stream" or named is None:
        return NEEDED
    return NEEDED | {"VLLM_PLUGINS": f"{named},{BACKEND}"}


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of this process that a server may have, because it is no rank."""
    return {
        name: value
        for name, value in environment.items()
        if name not in OF_RANKS and not name.startswith(OF_TORCHRUN)
    }


def log_of(config: TrainConfig, number: int) -> Path:
    return (config.out / "servers").resolve() / f"server-{number}.log"


def serve_command(config: TrainConfig) -> list[str]:
    """Return the command that serves the policy; the options of `sampler.vllm` come before ours."""
    settings = config.sampler
    options: dict[str, Any] = {
        "model": config.model.path,
        "served-model-name": settings.model_name,
        "enable-scale-out": True,
        "logprobs-mode": "processed_logprobs",
    }
    if config.model.lora is not None:
        options |= {"enable-lora": True, "max-lora-rank": lora_rank(config.model.lora.rank)}
        if config.max_staleness:
            options["max-loras"] = 2  # completions in flight finish with the adapter before
    if settings.weight_sync == "stream":
        options["weight-transfer-config"] = {"backend": BACKEND}
    if settings.vllm.gpus > 1:
        options["tensor-parallel-size"] = settings.vllm.gpus
    if settings.colocate:
        options |= {"enable-sleep-mode": True, "gpu-memory-utilization": SHARED_MEMORY}
    options |= {name.replace("_", "-"): value for name, value in settings.vllm.options.items()}
    python = settings.vllm.python or sys.executable
    return [str(python), "-m", "vllm.entrypoints.openai.api_server", *as_flags(options)]


def as_flags(options: Mapping[str, Any]) -> list[str]:
    """Write options as flags: true as a flag alone, false and null not at all."""
    flags = []
    for name, value in options.items():
        if value is True:
            flags.append(f"--{name}")
        elif value is not None and value is not False:
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            flags.append(f"--{name}={text}")
    return flags


def lora_rank(rank: int) -> int:
    """Return the smallest rank that vLLM can be started with and that has room for this one."""
    return next((each for each in LORA_RANKS if each >= rank), rank)


def visible_gpus() -> list[str]:
    """Return the GPUs of this process, by the names that CUDA_VISIBLE_DEVICES takes."""
    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]


def own_gpu(device: torch.device) -> int | None:
    """Return the trainer's GPU as a place among the visible ones; None for the CPU."""
    return (device.index or 0) if device.type == "cuda" else None


def leave_to_ranks(
    visible: Sequence[str], own: int | None, environment: Mapping[str, str]
) -> tuple[Sequence[str], int | None]:
    """Return the GPUs without those of the ranks that torchrun has started on this machine.

    Args:
        visible: the names of all GPUs.
        own: the trainer's place among them; None if it needs none.
        environment: LOCAL_WORLD_SIZE is the number of ranks.
    """
    count = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    return (visible, own) if own is None or count == 1 else (visible[count:], None)


def deal_gpus(
    visible: Sequence[str], own: int | None, *, servers: int, each: int, colocate: bool
) -> list[list[str]]:
    """Deal the GPUs out to the servers.

    Args:
        visible: the names of all GPUs.
        own: the trainer's place among them; None if it needs none.
        servers: the number of servers.
        each: the GPUs of each server.
        colocate: whether the first server gets the trainer's GPU; else no server does.

    Returns:
        The GPUs of each server; none where there is no GPU at all.

    Raises:
        SamplerError: If there are too few.
    """
    if not visible:
        return [[] for _ in range(servers)]
    others = [name for place, name in enumerate(visible) if place != own]
    shared = [visible[own]] if colocate and own is not None else []
    free = [*shared, *others]
    if len(free) < servers * each:
        beside = "" if colocate or own is None else " beside the trainer's"
        remedy = ", or set sampler.colocate" if beside and servers == 1 else ""
        raise SamplerError(
            f"sampler.servers {servers} with sampler.vllm.gpus {each} need {servers * each}"
            f" GPUs{beside}, and there are {len(free)}: lower one of them{remedy}"
        )
    return [list(free[start : start + each]) for start in range(0, servers * each, each)]
