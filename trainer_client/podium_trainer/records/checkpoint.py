"""A run's state on disk. A kill at any moment leaves the last whole checkpoint.

checkpoints/step-000020/
  weights/        what transformers, peft and vLLM load: the model, or its adapter
  optimizer.pt    AdamW's state
  rng.pt          Python, NumPy, torch and GPU generators
  state.json      step, prompts taken, policy version
"""

import json
import os
import pickle
import random
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from podium_trainer.policy.policy import Policy

# What torch.load and load_state_dict raise on files that are cut, empty or something else.
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError,
)  # fmt: skip


class CheckpointError(Exception):
    """A checkpoint cannot be used; one line that says why and what to do."""


@dataclass(frozen=True)
class RunState:
    """What a run is besides its weights.

    Attributes:
        step: steps done.
        prompts_taken: the task cursor.
        policy_version: the version that the sampler had.
        idle_steps: steps in a row without any group to train on.
    """

    step: int = 0
    prompts_taken: int = 0
    policy_version: int = 0
    idle_steps: int = 0


def save_checkpoint(
    folder: Path, policy: Policy, optimizer: torch.optim.Optimizer, state: RunState, keep: int
) -> Path:
    """Write a checkpoint beside the others, then drop all but the newest `keep`.

    Raises:
        CheckpointError: If it cannot be written, as on a full disk; the others are untouched.
    """
    final = folder / f"step-{state.step:06d}"
    growing = folder / f".{final.name}"
    try:
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir(parents=True)
        policy.save(growing / "weights")
        torch.save(optimizer.state_dict(), growing / "optimizer.pt")
        torch.save(rng_state(), growing / "rng.pt")
        (growing / "state.json").write_text(json.dumps(asdict(state)))
        flush(growing)
        shutil.rmtree(final, ignore_errors=True)
        growing.rename(final)
        flush_folder(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(growing, ignore_errors=True)
        raise CheckpointError(f"cannot write {final}: {error}") from error
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)  # the next save tries again
    return final


def checkpoints(folder: Path) -> list[Path]:
    """All whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def read_state(checkpoint: Path) -> RunState:
    """The part that is needed before the weights."""
    try:
        return RunState(**json.loads((checkpoint / "state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}/state.json cannot be read: {error}") from error


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put optimizer and generators back; the weights were loaded with the policy.

    Raises:
        CheckpointError: If a file is missing or belongs to another model.
    """
    try:
        load = partial(torch.load, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(load(checkpoint / "optimizer.pt"))
        restore_rng(load(checkpoint / "rng.pt"))
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{checkpoint} cannot be resumed from: {reason}") from error


def rng_state() -> dict[str, Any]:
    """Every process-wide generator. The run's own draws are seeded by step and need none."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    return {
        "python": [version, list(internal), next_gauss],
        "numpy": [name, torch.from_numpy(np.array(keys, dtype=np.int64)), place, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def restore_rng(state: dict[str, Any]) -> None:
    version, internal, next_gauss = state["python"]
    random.setstate((version, tuple(internal), next_gauss))
    name, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    for device, kept in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(kept, device)


def flush(folder: Path) -> None:
    """Have the disk keep every file below a folder, and the names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            flush_file(path)
        else:
            flush_folder(path)
    flush_folder(folder)


def flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
