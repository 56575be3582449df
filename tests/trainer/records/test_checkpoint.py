"""Checkpoints: bit for bit, whole or not there, and one line where one cannot be used."""

import random
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from podium_trainer.config import LoraConfig, LossConfig, ModelConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import RankLost
from podium_trainer.records.checkpoint import (
    CheckpointError,
    RunState,
    checkpoints,
    load_optimizer,
    read_state,
    save_checkpoint,
)
from podium_trainer.records.optimizer_files import load_shares, save_shares, take_shares
from podium_trainer.update.update import update
from tests.trainer.tiny import END, sample, save_model

LORA = LoraConfig(rank=2, alpha=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def load(model: Path, lora: LoraConfig | None = None, weights: Path | None = None) -> Policy:
    config = ModelConfig(path=str(model), device="cpu", autocast=False, lora=lora)
    return load_policy(config, temperature=1.0, weights=weights)


def adam(policy: Policy) -> torch.optim.Optimizer:
    return torch.optim.AdamW(policy.parameters(), lr=1e-2, fused=True)


def train(policy: Policy, optimizer: torch.optim.Optimizer, steps: int) -> None:
    samples = [
        sample([5, 9, 14, 20, END], [3, 4], advantage=0.5),
        sample([5, 9, 14, 21, END], [3, 4], advantage=-0.5),
    ]
    for _ in range(steps):
        update(
            policy, optimizer, [[samples]], LossConfig(sequence_ratio_bounds=None),
            max_completion_tokens=2, micro_batch_tokens=64, max_grad_norm=1.0,
        )  # fmt: skip


def draws() -> list[float]:
    """Draw from every process-wide generator, the second of a Gaussian pair among them."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(),
            float(torch.rand(()))]  # fmt: skip


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_weights_optimizer_and_generators_come_back_bit_for_bit(
    model: Path, tmp_path: Path, lora: LoraConfig | None
) -> None:
    policy = load(model, lora)
    optimizer = adam(policy)
    train(policy, optimizer, 2)
    random.gauss(0, 1)
    np.random.randn()
    state = RunState(step=2, prompts_taken=16, policy_version=2, idle_steps=1)
    path = save_checkpoint(tmp_path, policy, optimizer, state, keep=2)
    drawn = draws()
    train(policy, optimizer, 2)

    again = load(model, lora, path / "weights")
    optimizer_again = adam(again)
    draws()
    load_optimizer(path, again, optimizer_again)
    assert read_state(path) == state
    assert draws() == drawn
    train(again, optimizer_again, 2)
    mine, theirs = policy.model.state_dict(), again.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    for p, q in zip(policy.parameters(), again.parameters(), strict=True):
        one, other = optimizer.state[p], optimizer_again.state[q]
        assert one.keys() == other.keys() >= {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def saved(model: Path, tmp_path: Path) -> tuple[Path, Policy, torch.optim.Optimizer]:
    """Return a folder with a checkpoint of step 1."""
    policy = load(model, LORA)
    optimizer = adam(policy)
    train(policy, optimizer, 1)
    save_checkpoint(tmp_path, policy, optimizer, RunState(step=1), keep=2)
    return tmp_path, policy, optimizer


Saved = tuple[Path, Policy, torch.optim.Optimizer]


def test_a_half_written_checkpoint_is_ignored_and_overwritten(saved: Saved) -> None:
    folder, policy, optimizer = saved
    half = folder / ".step-000002"
    (half / "weights").mkdir(parents=True)
    (half / "weights" / "left.bin").write_bytes(b"half")
    (folder / "step-000003").mkdir()  # without its state
    assert checkpoints(folder)[-1].name == "step-000001"
    path = save_checkpoint(folder, policy, optimizer, RunState(step=2), keep=2)
    assert checkpoints(folder)[-1] == path
    assert not half.exists()
    assert not (path / "weights" / "left.bin").exists()


def test_the_newest_checkpoints_are_kept_in_order_of_step(saved: Saved) -> None:
    folder, policy, optimizer = saved
    for step in (2, 10, 1_000_000):
        save_checkpoint(folder, policy, optimizer, RunState(step=step), keep=2)
    assert [read_state(path).step for path in checkpoints(folder)] == [10, 1_000_000]
    save_checkpoint(folder, policy, optimizer, RunState(step=2_000_000), keep=1)
    assert [path.name for path in folder.iterdir()] == ["step-2000000"]


def test_a_checkpoint_of_the_same_step_is_replaced(saved: Saved) -> None:
    folder, policy, optimizer = saved
    state = RunState(step=1, prompts_taken=99)
    save_checkpoint(folder, policy, optimizer, state, keep=2)
    assert [read_state(path) for path in checkpoints(folder)] == [state]


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let a disk be full at `size` bytes a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("full_at", ["weights", "optimizer"])
def test_a_full_disk_leaves_the_last_checkpoint(model: Path, tmp_path: Path, full_at: str) -> None:
    policy = load(model)
    optimizer = adam(policy)
    train(policy, optimizer, 1)
    last = save_checkpoint(tmp_path, policy, optimizer, RunState(step=1), keep=1)
    weights = (last / "weights" / "model.safetensors").stat().st_size
    assert weights + 1000 < (last / "optimizer.pt").stat().st_size
    size = weights // 2 if full_at == "weights" else weights + 1000
    with files_up_to(size), pytest.raises(CheckpointError) as caught:
        save_checkpoint(tmp_path, policy, optimizer, RunState(step=2), keep=1)
    assert str(caught.value).startswith(f"cannot write {tmp_path}/step-000002: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [last]
    resumed = load(model, weights=last / "weights")
    load_optimizer(last, resumed, adam(resumed))


def test_a_folder_that_cannot_be_made_is_one_line(saved: Saved, tmp_path: Path) -> None:
    _, policy, optimizer = saved
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(CheckpointError, match=r"^cannot write .*step-000001: ") as caught:
        save_checkpoint(blocked, policy, optimizer, RunState(step=1), keep=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"steps": 3}', "\udcff"])
def test_a_state_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"state\.json cannot be read: ") as caught:
        read_state(tmp_path)
    assert "\n" not in str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Any] = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "words": lambda path: path.write_text("hello, this is no checkpoint"),
    "missing": lambda path: path.unlink(),
    "another thing": lambda path: torch.save([1, 2], path),
    "code": lambda path: torch.save({"x": subprocess.run}, path),
}


@pytest.mark.parametrize("name", ["optimizer.pt", "rng.pt"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_line(saved: Saved, name: str, damage: str) -> None:
    folder, policy, _ = saved
    path = checkpoints(folder)[-1]
    DAMAGE[damage](path / name)
    with pytest.raises(CheckpointError, match=r"step-000001 cannot be resumed from: ") as caught:
        load_optimizer(path, policy, adam(policy))
    assert "\n" not in str(caught.value)


def test_another_models_optimizer_is_refused(saved: Saved, model: Path) -> None:
    folder, _, _ = saved
    other = load(model)
    with pytest.raises(CheckpointError, match="cannot be resumed from: "):
        load_optimizer(checkpoints(folder)[-1], other, adam(other))


@pytest.mark.filterwarnings("ignore:torch.distributed is:UserWarning")
def test_ranks_resume_weights_that_had_no_gradient_yet(model: Path, tmp_path: Path) -> None:
    policy = load(model)
    optimizer = adam(policy)
    train(policy, optimizer, 1)
    del optimizer.state[policy.parameters()[1]]  # as that of an expert that nothing is routed to
    saved = optimizer.state_dict()
    save_shares(tmp_path, policy, optimizer)
    for read in (partial(load_shares, tmp_path), partial(take_shares, saved)):
        again = load(model)
        optimizer_again = adam(again)
        read(again, optimizer_again)
        state = optimizer_again.state_dict()["state"]
        assert not any(value.any() for value in state.pop(1).values())
        assert state.keys() == saved["state"].keys()
        for number, values in saved["state"].items():
            assert all(torch.equal(state[number][kind], values[kind]) for kind in values)


class LostInSaving(torch.optim.AdamW):
    """Stands for an optimizer whose share on another rank is lost."""

    def state_dict(self) -> dict[str, Any]:
        raise RankLost("rank 1 gave no sign of life")


def test_a_lost_rank_is_no_fault_of_the_disk(model: Path, tmp_path: Path) -> None:
    policy = load(model)
    optimizer = LostInSaving(policy.parameters())
    with pytest.raises(RankLost, match=r"^rank 1 gave no sign of life$"):
        save_checkpoint(tmp_path, policy, optimizer, RunState(step=1), keep=1)
    assert not list(tmp_path.iterdir())
