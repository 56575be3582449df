"""Yield the policy's weights under the names of its checkpoint, one after the other.

Where the policy is sharded, all ranks gather each weight together, and rank 0 alone keeps it.
"""

from collections.abc import Generator
from contextlib import closing
from itertools import groupby

import torch
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers.weight_files import names_in_float32, narrowed


def full_weights(
    policy: Policy, dtype: torch.dtype | None = None
) -> Generator[tuple[str, Tensor], None, None]:
    """Yield the name and the whole tensor of each weight, tied ones under each of their names.

    The caller closes the generator, because all ranks gather to the end.

    vLLM 0.32 takes a head that is tied to the embedding only by its own name, and would otherwise
    go on with the old head without a word.

    Args:
        policy: a policy without adapters.
        dtype: the type to round wider weights to; None for their own.
    """
    model = policy.base
    kept = names_in_float32(policy)
    nothing: dict[str, Tensor] = {}
    is_converted = revert_weight_conversion(model, nothing) is not nothing
    with closing(policy.named_full_tensors()) as tensors:
        weights = ((name, narrowed(name, whole, dtype, kept)) for name, whole in tensors)
        if not is_converted:
            yield from weights
            return
        # What transformers fuses when it loads a checkpoint, such as the experts of a layer, it
        # can take apart again only together.
        for _, layer in groupby(weights, key=lambda weight: layer_of(weight[0])):
            yield from revert_weight_conversion(model, dict(layer)).items()


def layer_of(name: str) -> tuple[str, ...]:
    """Return what is common to the names of all weights of a layer; a weight of none stands alone.

    A model names the weights of a layer one after the other.
    """
    parts = name.split(".")
    place = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    return (name,) if place is None else tuple(parts[: place + 1])
