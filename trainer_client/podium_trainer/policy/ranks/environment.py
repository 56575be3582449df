"""Read what torchrun has set for this process, and choose how it reaches the others."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end this process at once while the block runs.

    Torch waits in it for the other ranks and lets Python see no signal for minutes, and there is
    nothing to save yet.
    """
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if is_main}
    caught = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in caught:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)


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
