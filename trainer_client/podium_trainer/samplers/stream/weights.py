"""Yield the policy's weights under the names of its checkpoint, one after the other.

Where the policy is sharded, each weight is gathered by all ranks together, so that all must go
through the same iterator, and only rank 0 keeps what it yields.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers.weight_files import names_in_float32, narrowed


def full_weights(policy: Policy, dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the whole tensor of each weight, tied ones under each of their names.

    vLLM 0.32 takes a head that is tied to the embedding only by its own name, and would otherwise
    go on with the old head without a word.

    Args:
        policy: a policy without adapters.
        dtype: the type to round wider weights to; None for their own.
    """
    model = policy.base
    kept = names_in_float32(policy)
    state: Mapping[str, Tensor] = model.state_dict()
    nothing: dict[str, Tensor] = {}
    is_converted = revert_weight_conversion(model, nothing) is not nothing
    for names in by_layer(list(state)) if is_converted else [[name] for name in state]:
        part = {name: gather(narrowed(name, state[name], dtype, kept)) for name in names}
        yield from (revert_weight_conversion(model, part) if is_converted else part).items()


def gather(weight: Tensor) -> Tensor:
    """Return the whole of a weight; if it is sharded (a DTensor), all ranks must call this."""
    whole: Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return whole


def by_layer(names: Sequence[str]) -> list[list[str]]:
    """Group the names of weights by their layers, in the order of the layers' first weights.

    What transformers fuses when it loads a checkpoint, such as the experts of a layer, it can take
    apart again only together.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = name.split(".")
        place = next((index for index, part in enumerate(parts) if part.isdigit()), None)
        layer = (name,) if place is None else tuple(parts[: place + 1])
        groups.setdefault(layer, []).append(name)
    return list(groups.values())
