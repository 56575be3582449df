"""Keep the optimizer's state in the memory of the CPU, and take its steps there.

AdamW has two averages for each weight. In float32 they take twice the memory of the weights, which
a GPU then has free; each step moves the gradients down and the weights up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW on copies of the parameters that lie in the memory of the CPU.

    Args:
        parameters: the parameters that are trained, with the weights to start from.
        settings: as `torch.optim.AdamW` takes them.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], **settings: Any) -> None:
        self._trained = list(parameters)
        self._copies = [p.detach().to("cpu", copy=True) for p in self._trained]
        super().__init__(self._copies, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step with the gradients of the parameters, and write the new weights to them."""
        for parameter, copy in zip(self._trained, self._copies, strict=True):
            copy.grad = None if parameter.grad is None else parameter.grad.to("cpu")
        loss: float | None = super().step(closure)
        for parameter, copy in zip(self._trained, self._copies, strict=True):
            parameter.copy_(copy)
            copy.grad = None
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the parameters."""
        for parameter in self._trained:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()
