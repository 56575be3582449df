"""An optimizer with its state in the memory of the CPU takes the steps of one without."""

from pathlib import Path

import pytest
import torch

from podium_trainer.config import OptimizerConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.update.optimizer import OffloadedAdamW, open_optimizer
from tests.trainer.tiny import GROUP, packed_logprobs, tiny_policy


def optimizer_of(policy: Policy, *, offload: bool) -> torch.optim.Optimizer:
    config = OptimizerConfig(lr=1e-2, weight_decay=0.1, offload=offload)
    return open_optimizer(config, policy)


def take_steps(policy: Policy, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        torch.cat(packed_logprobs(policy, GROUP)).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def weights(policy: Policy) -> list[list[float]]:
    return [p.detach().flatten().tolist() for p in policy.parameters()]


def test_an_offloaded_optimizer_takes_the_same_steps() -> None:
    results = []
    for offload in (False, True):
        policy = tiny_policy()
        optimizer = optimizer_of(policy, offload=offload)
        assert isinstance(optimizer, OffloadedAdamW) == offload
        take_steps(policy, optimizer, 2)
        optimizer.param_groups[0]["lr"] = 1e-3
        take_steps(policy, optimizer, 1)
        assert all(p.grad is None for p in policy.parameters())
        results.append(weights(policy))
    assert results[0] == results[1]


@pytest.mark.parametrize("offload", [True, False])
def test_a_saved_state_goes_on_with_or_without_offload(tmp_path: Path, offload: bool) -> None:
    policy = tiny_policy()
    optimizer = optimizer_of(policy, offload=True)
    take_steps(policy, optimizer, 2)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    resumed = tiny_policy()
    resumed.model.load_state_dict(policy.model.state_dict())
    again = optimizer_of(resumed, offload=offload)
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt"))
    take_steps(policy, optimizer, 1)
    take_steps(resumed, again, 1)
    assert weights(policy) == weights(resumed)


def test_the_state_lies_in_the_memory_of_the_cpu() -> None:
    policy = tiny_policy()
    optimizer = optimizer_of(policy, offload=True)
    take_steps(policy, optimizer, 1)
    state = [t for each in optimizer.state.values() for t in each.values()]
    assert {t.device.type for t in state} == {"cpu"}
    trained = {p.data_ptr() for p in policy.parameters()}
    assert not trained & {p.data_ptr() for p in optimizer.param_groups[0]["params"]}
