"""Open the optimizer of a run, AdamW, and name its state.

AdamW has two averages for each weight. In float32 they take twice the memory of the weights. With
`optimizer.offload` they lie in the memory of the CPU: a GPU then has that memory free, and each
step moves the gradients down and the weights up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from podium_trainer.config import OptimizerConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.shard import local

AVERAGES = ("exp_avg", "exp_avg_sq")


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW on copies of the parameters that lie in the memory of the CPU.

    Args:
        parameters: the parameters that are trained, with the weights to start from; of a sharded
            one only this rank's share is copied.
        settings: as `torch.optim.AdamW` takes them.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], **settings: Any) -> None:
        self._trained = list(parameters)
        self._copies = [local(p.detach()).to("cpu", copy=True) for p in self._trained]
        super().__init__(self._copies, **settings)

    # torch declares an overload for each kind of closure.
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step with the gradients of the parameters, and write the new weights to them."""
        for parameter, copy in zip(self._trained, self._copies, strict=True):
            copy.grad = None if parameter.grad is None else local(parameter.grad).to("cpu")
        loss: float | None = super().step(closure)
        for parameter, copy in zip(self._trained, self._copies, strict=True):
            local(parameter).copy_(copy)
            copy.grad = None
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the parameters."""
        for parameter in self._trained:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()


def open_optimizer(config: OptimizerConfig, policy: Policy) -> torch.optim.Optimizer:
    """Open the optimizer of a policy's trained parameters; its learning rate is set by `update`."""
    kind = OffloadedAdamW if config.offload else torch.optim.AdamW
    return kind(
        policy.parameters(),
        lr=config.lr or 0.0,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def named_state(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the tensors of the optimizer's state by the weight that they are for.

    A share of a sharded weight's average is a share of the whole average, wherever it lies. The
    tensors are those of the optimizer: writing into them changes its state.
    """
    named = [pair for pair in policy.model.named_parameters() if pair[1].requires_grad]
    own = optimizer.param_groups[0]["params"]
    return {
        f"{name}.{kind}": as_share(value, parameter) if kind in AVERAGES else value
        for (name, parameter), key in zip(named, own, strict=True)
        for kind, value in optimizer.state.get(key, {}).items()
    }


def as_share(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor of a parameter's shape with the parameter's placement on the ranks."""
    if not isinstance(parameter, DTensor):
        return value
    share = local(value)
    mesh = init_device_mesh(share.device.type, tuple(parameter.device_mesh.shape))
    return DTensor.from_local(
        share, mesh, parameter.placements, run_check=False,
        shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip


def clear_state(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter the state of AdamW before its first step."""
    for key in optimizer.param_groups[0]["params"]:
        averages = {kind: torch.zeros_like(key) for kind in AVERAGES}
        optimizer.state[key] = {"step": torch.zeros((), device=local(key).device), **averages}
