"""Write and read the optimizer's state: one file, or a file from each rank.

    optimizer.pt   of one process: `state_dict()`, as torch.load reads it
    optimizer/     of several: each rank's share, as torch.distributed.checkpoint reads it

Both are read by any number of processes.
"""

import pickle
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import FailedTogether
from podium_trainer.policy.ranks.shard import local
from podium_trainer.update.optimizer import AVERAGES, clear_state, named_state

FILE, FOLDER = "optimizer.pt", "optimizer"
NAMED = {  # functions that may be in a list of tensors, beside classes, by their modules
    "pathlib": (),
    "torch": (),
    "torch.distributed.checkpoint.filesystem": (),
    "torch.distributed.checkpoint.metadata": (),
    "torch.serialization": ("_get_layout",),
}


class SharesError(FailedTogether, OSError):
    """A rank cannot write its share of the state; one line that names it."""


def save_state(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Write the state into a checkpoint's folder.

    Raises:
        OSError, RuntimeError: If it cannot be written.
    """
    if not policy.ranks.are_many:
        torch.save(optimizer.state_dict(), folder / FILE)
        return
    with policy.ranks.lead("save_optimizer", folder):
        save_shares(folder / FOLDER, policy, optimizer)


def save_shares(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Write the shares of all ranks, which all call it at once.

    Raises:
        SharesError: If one of them cannot be written.
    """
    writer = FileSystemWriter(folder, sync_files=False)
    try:
        save({**named_state(policy, optimizer)}, storage_writer=writer)
    except CheckpointException as error:
        raise SharesError(first_failure(error)) from error


def load_state(checkpoint: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Read the state, or this rank's share of it, from a checkpoint's folder.

    Raises:
        OSError, ValueError, RuntimeError, pickle.UnpicklingError: If it cannot be read, or is that
            of another model.
    """
    if (checkpoint / FOLDER).is_dir():
        load_shares(checkpoint / FOLDER, policy, optimizer)
        return
    state = torch.load(checkpoint / FILE, map_location="cpu", weights_only=True)
    if policy.ranks.are_many:
        take_shares(state, policy, optimizer)
    else:
        optimizer.load_state_dict(state)


def load_shares(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Read each weight's averages from what any number of ranks have written.

    A weight that had no gradient so far, such as that of an expert that nothing was routed to, has
    none in the file.
    """
    reader = Reader(folder)
    names = set(reader.read_metadata().state_dict_metadata)
    if not names:  # no step was taken before
        return
    clear_state(optimizer)
    tensors = named_state(policy, optimizer)
    if names - tensors.keys():
        raise ValueError(f"{folder} is that of another model")
    tensors = {name: tensor for name, tensor in tensors.items() if name in names}
    try:
        with warnings.catch_warnings():  # it warns that it was told not to ask other ranks
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load({**tensors}, storage_reader=reader, no_dist=True)
    except CheckpointException as error:
        raise OSError(first_failure(error)) from error


def take_shares(saved: dict[str, Any], policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Take this rank's share of what one process has written, which numbers the weights."""
    state: dict[int, dict[str, Tensor]] = saved["state"]
    if not state:
        return
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    if len(saved["param_groups"][0]["params"]) != len(names):
        raise ValueError(f"{FILE} is that of another model")
    clear_state(optimizer)
    tensors = named_state(policy, optimizer)
    for number, kind in product(state, ("step", *AVERAGES)):
        tensor, value = tensors[f"{names[number]}.{kind}"], state[number][kind]
        if isinstance(tensor, DTensor):
            if tensor.shape != value.shape:
                raise ValueError(f"shapes {list(value.shape)} and {list(tensor.shape)} differ")
            value = distribute_tensor(
                value, tensor.device_mesh, tensor.placements, src_data_rank=None
            )
        local(tensor).copy_(local(value))


class Reader(FileSystemReader):
    """Reads what ranks have written, and no code that somebody has put into it."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the list of tensors.

        Raises:
            pickle.UnpicklingError: If it names anything but plain values and torch's own types.
        """
        with (Path(self.path) / ".metadata").open("rb") as file:
            _Plain(file).load()
        return super().read_metadata(*args, **kwargs)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if module in NAMED else None
        is_own_class = isinstance(found, type) and found.__module__ == module
        if isinstance(found, torch.dtype) or name in NAMED.get(module, ()) or is_own_class:
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain value")


def first_failure(error: CheckpointException) -> str:
    """Say in one line what failed on the first rank that failed."""
    rank, failure = min(error.failures.items())
    cause = failure[0] if isinstance(failure, tuple) else failure
    words = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    return f"rank {rank}: {words}"
