"""Read what torchrun has set for this process, and choose how it reaches the others."""

from collections.abc import Mapping
from datetime import timedelta

import torch
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous


class RanksError(Exception):
    """The ranks cannot be started, or a setting does not go with them; one line."""


def read_number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    """Return a variable that torchrun sets.

    Raises:
        RanksError: If it is no number, or is not set and has no default.
    """
    text = environment.get(name, default)
    if not text.isdecimal():
        size = environment.get("WORLD_SIZE")
        raise RanksError(
            f"{name}: {text!r}: must be a number if WORLD_SIZE is set, which is {size!r}: start"
            " with torchrun, which sets all of them, or unset WORLD_SIZE"
        )
    return int(text)


def open_store(limit_s: float) -> Store:
    """Connect to the store that all ranks have in common."""
    store: Store = next(iter(rendezvous("env://", timeout=timedelta(seconds=limit_s))))[0]
    return store


def backend(local_rank: int) -> str:
    """Return what carries tensors: NCCL between GPUs, gloo for all that lies in the CPU's memory.

    Raises:
        RanksError: If there are fewer GPUs than ranks on this machine.
    """
    count = torch.cuda.device_count()
    if not count:
        return "gloo"
    if local_rank >= count:
        raise RanksError(
            f"LOCAL_RANK is {local_rank}, and this machine has {count} GPUs: start at most as many"
            " processes, with --nproc-per-node, or hide the GPUs with CUDA_VISIBLE_DEVICES="
        )
    torch.cuda.set_device(local_rank)
    return "cpu:gloo,cuda:nccl"
