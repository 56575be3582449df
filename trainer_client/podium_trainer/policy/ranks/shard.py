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
    send_buffers(model, device)


def find_layers(model: Any) -> list[nn.Module]:
    """Return the layers of a model, by the names that its class gives for them."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def send_weights(module: nn.Module, device: torch.device) -> None:
    """Give every rank the weights of rank 0, except for those that are sharded already.

    Which of them are tied to each other is as on rank 0, too.
    """
    firsts: dict[nn.Parameter, str] = {}
    sent: dict[str, nn.Parameter] = {}
    for path, parameter in list(module.named_parameters(remove_duplicate=False)):
        if isinstance(parameter, DTensor):
            continue
        first = tell(firsts.setdefault(parameter, path))
        if first not in sent:
            sent[first] = nn.Parameter(send(parameter.data, device), parameter.requires_grad)
        owner, _, name = path.rpartition(".")
        module.get_submodule(owner)._parameters[name] = sent[first]


def send_buffers(model: nn.Module, device: torch.device) -> None:
    """Give every rank what the model of rank 0 has beside its weights.

    Some of it is in the model's files, such as the scale of a layer or the bias of a router, so
    that a model without them has only what it starts with.
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, send(buffer, device))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor of rank 0, on a device; others may have one of another type in its place.

    `from_pretrained` keeps some weights in float32, and `from_config` does not.
    """
    shape, dtype = tell((tensor.shape, tensor.dtype))
    if dist.get_rank() == 0:
        data = tensor.to(device).contiguous()
    else:
        data = torch.empty(shape, dtype=dtype, device=device)
    dist.broadcast(data, src=0)
    return data


def tell(value: T) -> T:
    """Return the value of rank 0; all ranks call it at once."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


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
