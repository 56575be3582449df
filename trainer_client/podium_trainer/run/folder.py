"""Find the checkpoint in the folder of a run to go on from, and make the folder ready."""

from collections.abc import Mapping
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

FIXED = ("model.lora",)  # what a checkpoint's files themselves are made for


class StartError(Exception):
    """The run cannot start; the message says why and what to do, in one line where it can."""


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


def prepare_folder(config: TrainConfig, state: RunState) -> None:
    """Write the config, and drop the rows and checkpoints of steps that are done again.

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
    except (OSError, ValueError) as error:
        raise StartError(f"out {config.out} cannot be used: {error}") from error
