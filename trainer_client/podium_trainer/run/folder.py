"""Lock the folder of a run, find the checkpoint in it to go on from, and make it ready."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from podium_trainer.config import TrainConfig
from podium_trainer.records.checkpoint import (
    RunState,
    checkpoint_path,
    checkpoints,
    read_made_with,
    set_aside_after,
)
from podium_trainer.records.made_with import differences
from podium_trainer.records.metrics import drop_rows_after, read_rows, write_whole
from podium_trainer.records.rollouts.file import NAME, drop_steps_after
from podium_trainer.run.recipe import Resume

LOCK = ".lock"
LAUNCH = ".launch"
log = logging.getLogger("podium_trainer")
FIXED = ("model.lora",)  # what a checkpoint's files themselves are made for


class LockError(Exception):
    """The folder cannot be made or is in use; one line with the reason and the remedy."""


class StartError(Exception):
    """The run cannot start; the message says why and what to do, in one line where it can."""


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Make the folder, and keep other runs out of it until the block ends.

    The operating system holds the lock for as long as this process lives, so that a killed process
    leaves nothing behind that blocks. The file tells others who holds it.

    Raises:
        LockError: If another process has the lock, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LockError(f"out {out} cannot be used: {error}") from error
    try:
        take_lock(handle, out)
        yield
    finally:
        os.close(handle)


def take_lock(handle: int, out: Path) -> None:
    """Lock an open file and write into it who has it; warn where files cannot be locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            log.warning("%s cannot be locked: let no two runs use it (%s)", out, error)
            return
        owner = os.pread(handle, 400, 0).decode(errors="replace").strip() or "another process"
        raise LockError(
            f"out {out} is in use by {owner}: choose another --out, or wait until that run ends"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def after_restart(out: Path, resume: Resume, environment: Mapping[str, str]) -> Resume:
    """Return where a run starts if torchrun or Ray may have started it before.

    A start that has made `out` ready has left its launch there, and the next one goes on from what
    it has saved. After one that was refused, or has failed before, a run starts as it was told to.

    Args:
        out: the folder of the run.
        resume: where the command line says that the run starts.
        environment: as torchrun sets it.
    """
    resume = replace(resume, launch=name_launch(environment))
    if environment.get("TORCHELASTIC_RESTART_COUNT", "0") == "0" or not resume.launch:
        return resume
    try:
        is_ours = (out / LAUNCH).read_text() == resume.launch
    except (OSError, UnicodeDecodeError):
        return resume
    return replace(resume, is_wanted=True, step=None) if is_ours else resume


def name_launch(environment: Mapping[str, str]) -> str:
    """Return what all starts by one torchrun, or by one --ray, have in common; "" without them.

    With one machine it is the folder of torchrun's logs, whose name is random, because the id is
    "none" unless --rdzv-id is given. With several the id is the same on all of them.
    """
    run_id = environment.get("TORCHELASTIC_RUN_ID", "none")
    logs, _, _ = environment.get("TORCHELASTIC_ERROR_FILE", "").rpartition("/attempt_")
    if logs and (run_id == "none" or environment.get("GROUP_WORLD_SIZE") == "1"):
        return logs
    return "" if run_id == "none" else run_id


def find_checkpoint(config: TrainConfig, resume: Resume) -> Path | None:
    """Return the checkpoint to resume from.

    It is None for a new run, and for a run that was killed before its first checkpoint.

    Raises:
        StartError: If `out` holds a run and --resume is not set, or holds none and it is set.
    """
    if resume.is_wanted:
        if not (config.out / "config.yaml").is_file():
            raise StartError(f"{config.out} holds no run: check --out, or start without --resume")
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


def accept_changes(checkpoint: Path, now: Mapping[str, Any], resume: Resume) -> list[str]:
    """Compare what a checkpoint was made with and what the run would go on with.

    Args:
        checkpoint: the checkpoint to resume from.
        now: what the run would go on with, as `made_with.describe` says it.
        resume: whether changes are accepted.

    Returns:
        A line for each accepted change.

    Raises:
        StartError: If something differs that is not accepted; a line for each difference, with both
            values.
    """
    found = differences(read_made_with(checkpoint), now)
    lines = [line for _, line in found]
    fixed = [name for name, _ in found if name.startswith(FIXED)]
    if fixed or (found and not resume.accepts_changes):
        do = "go on with the same settings"
        if not fixed:
            do += ", add --accept-changes to go on with the new ones"
        begin = f"{checkpoint} was made with other settings: {do}, or choose another --out"
        raise StartError("\n".join([begin, *lines]))
    return lines


def prepare_folder(config: TrainConfig, state: RunState, launch: str) -> None:
    """Write the config, and drop the rows and checkpoints of steps that are done again.

    Args:
        config: all settings of the run.
        state: from which it goes on.
        launch: by which its next start knows that this one came so far; "" for none.

    Raises:
        StartError: If a file cannot be written.
    """
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    try:
        write_whole(config.out / "config.yaml", text)
        for name in ("metrics.jsonl", "timings.jsonl"):
            drop_rows_after(config.out / name, state.step if state.step else -1)
        drop_steps_after(config.out / NAME, state.step if state.step else -1)
        set_aside_after(config.out / "checkpoints", state.step)
        if launch:
            write_whole(config.out / LAUNCH, launch)
    except (OSError, ValueError) as error:
        raise StartError(f"out {config.out} cannot be used: {error}") from error
