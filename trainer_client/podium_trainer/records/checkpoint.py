"""Save and load the state of a run. A kill at any moment leaves the last complete checkpoint.

checkpoints/step-000020/
  weights/        the model or its adapter, as transformers, peft and vLLM load it
  optimizer.pt    the state of AdamW; of several ranks a folder `optimizer` (optimizer_files.py)
  rng.pt          the generators of Python, NumPy, torch and the GPUs
  made_with.json  the settings, and hashes of the data (made_with.py)
  state.json      step, prompts taken, policy version, best step
checkpoints/best  a link to the best one by held-out score, which is kept beside the newest
"""

import json
import os
import pickle
import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import FailedTogether, RankLost
from podium_trainer.records.optimizer_files import load_state, save_state

# torch.load and load_state_dict raise these on files that are truncated, empty or of another kind.
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError,
)  # fmt: skip


class CheckpointError(FailedTogether):
    """A checkpoint cannot be used; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class RunState:
    """The state of a run without its weights.

    Attributes:
        step: the number of steps done.
        prompts_taken: the number of prompts that the task's cursor has given out.
        policy_version: the version of the weights that the sampler had.
        idle_steps: the number of last steps in a row that had no group to train on.
        skipped_steps: the number of last updates in a row that failed.
        best_step: the step with the best held-out score; None if that is step 0 or unknown.
        best_score: the best held-out score, that of step 0 included.
    """

    step: int = 0
    prompts_taken: int = 0
    policy_version: int = 0
    idle_steps: int = 0
    skipped_steps: int = 0
    best_step: int | None = None
    best_score: float | None = None


def save_checkpoint(
    folder: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    state: RunState,
    keep: int,
    made_with: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Write a checkpoint beside the others, then delete all but the newest `keep` and the best.

    Args:
        folder: of all checkpoints.
        policy: the weights.
        optimizer: its state.
        state: the state of the run.
        keep: the number of checkpoints to keep.
        made_with: JSON values that a run is compared with that goes on from the checkpoint.

    Raises:
        CheckpointError: If it cannot be written, as on a full disk, or a weight is not finite; the
            others stay as they are.
        RankLost: If a rank does not answer any more.
    """
    final = checkpoint_path(folder, state.step)
    if not policy.is_finite:
        raise CheckpointError(
            f"the weights after step {state.step} are not finite and were not saved: lower"
            " optimizer.lr and add --resume --accept-changes, or --resume-from an earlier step"
        )
    partial_folder = folder / f".{final.name}"
    try:
        shutil.rmtree(partial_folder, ignore_errors=True)
        partial_folder.mkdir(parents=True)
        policy.save(partial_folder / "weights")
        save_state(partial_folder, policy, optimizer)
        torch.save(rng_state(), partial_folder / "rng.pt")
        (partial_folder / "made_with.json").write_text(json.dumps(dict(made_with)))
        (partial_folder / "state.json").write_text(json.dumps(asdict(state)))
        flush(partial_folder)
        shutil.rmtree(final, ignore_errors=True)
        partial_folder.rename(final)
        flush_folder(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial_folder, ignore_errors=True)
        if isinstance(error, RankLost):
            raise
        raise CheckpointError(f"cannot write {final}: {error}") from error
    best = None if state.best_step is None else checkpoint_path(folder, state.best_step)
    for old in checkpoints(folder)[:-keep]:
        if old != best:
            shutil.rmtree(old, ignore_errors=True)  # the next call tries again
    if best is not None and best.is_dir():
        link_best(best)
    return final


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint after a step."""
    return folder / f"step-{step:06d}"


def link_best(best: Path) -> None:
    """Let `best` beside a checkpoint point to it; the link is replaced whole."""
    with suppress(OSError):  # a file system without links still has the checkpoint itself
        partial_link = best.parent / ".best"
        partial_link.unlink(missing_ok=True)
        partial_link.symlink_to(best.name)
        partial_link.replace(best.parent / "best")


def set_aside_after(folder: Path, step: int) -> list[Path]:
    """Rename the checkpoints after a step that a run starts over from; return the new paths."""
    renamed = []
    for path in checkpoints(folder):
        if read_state(path).step > step:
            aside = path.with_name(f"replaced-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            renamed.append(path.rename(aside))
    return renamed


def checkpoints(folder: Path) -> list[Path]:
    """Return all complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def read_state(checkpoint: Path) -> RunState:
    """Read the part of a checkpoint that is needed before the weights."""
    try:
        return RunState(**json.loads((checkpoint / "state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}/state.json cannot be read: {error}") from error


def read_made_with(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint was made with."""
    path = checkpoint / "made_with.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def load_optimizer(checkpoint: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Restore optimizer and generators; the policy has loaded the weights itself.

    The optimizer keeps its own settings, such as betas. With several ranks, each calls it.

    Raises:
        CheckpointError: If a file is missing or belongs to another model.
    """
    try:
        own = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        load_state(checkpoint, policy, optimizer)
        for group, settings in zip(optimizer.param_groups, own, strict=True):
            group.update(settings)
        restore_rng(torch.load(checkpoint / "rng.pt", map_location="cpu", weights_only=True))
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{checkpoint} cannot be resumed from: {reason}") from error


def rng_state() -> dict[str, Any]:
    """Return the states of all process-wide generators.

    The run's own draws are seeded by step and do not need them.
    """
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
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)


def flush(folder: Path) -> None:
    """Write a folder and everything below it through to the disk."""
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
