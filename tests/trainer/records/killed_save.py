"""Save a checkpoint in a process that is killed at each of its file operations in turn.

    python -m tests.trainer.records.killed_save FOLDER

Each process is forked from this one, which looks at what is left, and prints how many there were.
"""

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from podium_trainer.config import ModelConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.records.checkpoint import (
    RunState,
    checkpoints,
    load_optimizer,
    read_made_with,
    read_state,
    save_checkpoint,
)
from tests.trainer.tiny import save_model

WITHIN_FOLDER = ("os.remove", "os.rmdir")  # `rmtree` names their files relative to a folder


def die_at(number: int, folder: Path) -> None:
    """Kill this process just before its file operation of this number below a folder."""
    operations = itertools.count()

    def watch(event: str, args: tuple[Any, ...]) -> None:
        is_ours = bool(args) and str(args[0]).startswith(str(folder))
        if (is_ours or event in WITHIN_FOLDER) and next(operations) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def content(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def check(
    folder: Path, first: dict[str, bytes], policy: Policy, optimizer: torch.optim.Optimizer
) -> None:
    """Check that the newest checkpoint is the whole first one, or a whole second one."""
    newest = checkpoints(folder)[-1]
    step = read_state(newest).step
    assert content(newest) == first if step == 1 else step == 2
    assert content(newest).keys() == first.keys()
    assert read_made_with(newest) == {"seed": step}
    load_optimizer(newest, policy, optimizer)
    assert load_file(newest / "weights" / "model.safetensors")


def save(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer, step: int) -> None:
    save_checkpoint(folder, policy, optimizer, RunState(step=step), 1, {"seed": step})


def main(base: Path) -> None:
    model = save_model(base / "model")
    policy = load_policy(
        ModelConfig(path=str(model), device="cpu", autocast=False), temperature=1.0
    )
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    for parameter in policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept, folder = base / "kept", base / "checkpoints"
    save(kept, policy, optimizer, 1)
    first = content(kept / "step-000001")
    for number in itertools.count():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)
        child = os.fork()
        if child == 0:
            die_at(number, folder)
            save(folder, policy, optimizer, 2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        check(folder, first, policy, optimizer)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            print(number)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
