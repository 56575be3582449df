"""Shard a model: each rank has a share of every weight, and layers are gathered as they are used.

The gradients of all ranks are added up, because the loss of each rank's micro-batches is already
its share of the loss of the step.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from podium_trainer.policy.ranks.processes import Ranks

T = TypeVar("T")
METHOD = "podium_run"


def shard(model: Any, ranks: Ranks, device: torch.device, *, bfloat16: bool) -> None:
    """Shard a model in place, layer by layer.

    Args:
        model: a Hugging Face causal LM; rank 0 has the weights, in any memory, and gives them to
            the others, which need no more than the shapes.
        ranks: all ranks.
        device: where this rank's share goes.
        bfloat16: gather and multiply in bfloat16; the share and the sum of gradients keep their
            type.
    """
    mesh = ranks.mesh(device)
    precision = MixedPrecisionPolicy()
    if bfloat16:
        precision = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for module in [*find_layers(model), model]:
        send_weights(module, device)
        # The root is resharded, too, although that gathers it once more for the backward pass: else
        # whoever lists the parameters after a forward pass would get those of the whole root.
        fully_shard(module, mesh=mesh, mp_policy=precision, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):  # on the root alone, layers would keep the mean
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other
    setattr(model, METHOD, MethodType(_call, model))
    register_fsdp_forward_method(model, METHOD)
    move_buffers(model, device)


def find_layers(model: Any) -> list[nn.Module]:
    """Return the layers of a model, by the names that its class gives for them."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def send_weights(module: nn.Module, device: torch.device) -> None:
    """Give every rank the weights of rank 0, except for those that are sharded already."""
    sent: dict[nn.Parameter, nn.Parameter] = {}  # so that tied weights stay tied
    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is None or isinstance(parameter, DTensor):
                continue
            if parameter not in sent:
                data = parameter.data
                data = torch.empty_like(data, device=device) if data.is_meta else data.to(device)
                dist.broadcast(data, src=0)
                sent[parameter] = nn.Parameter(data, parameter.requires_grad)
            each._parameters[name] = sent[parameter]


def move_buffers(model: nn.Module, device: torch.device) -> None:
    """Move what a model has beside its weights, such as the frequencies of its positions."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))


def run(model: Any, function: Callable[..., T], *args: Any, **settings: Any) -> T:
    """Call `function(model, ...)` as a forward pass of the model.

    A sharded model has the weights of its root, such as the head, only within a forward pass.
    """
    if not isinstance(model, FSDPModule):
        return function(model, *args, **settings)
    result: T = getattr(model, METHOD)(function, *args, **settings)
    return result


def _call(model: Any, function: Callable[..., T], *args: Any, **settings: Any) -> T:
    return function(model, *args, **settings)


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor that may be sharded; all ranks call it at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Return this rank's share of a tensor that may be sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_tensors(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor whole, one at a time; all ranks call it at once."""
    for name, tensor in tensors.items():
        yield name, whole(tensor.detach())
