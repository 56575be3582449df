"""Write a version's weights into a folder that vLLM servers can load."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers import SamplerError


def save_weights(
    policy: Policy, folder: Path, version: int, dtype: torch.dtype | None = None
) -> Path:
    """Write the weights (the adapter alone, if there is one) into the version's own folder.

    Args:
        policy: the model.
        folder: for all versions.
        version: of the policy.
        dtype: the type to write all weights in; None for their own. An adapter keeps its own.

    Returns:
        The version's folder, below `folder`.

    Raises:
        SamplerError: If it cannot be written.
    """
    path = folder / f"version-{version:06d}"
    try:
        if policy.is_lora:
            policy.model.save_pretrained(path, state_dict=policy.full_state())
        else:
            state = copy_tied_weights(policy.full_state())
            if dtype is not None:
                state = narrow(state, dtype, kept=names_in_float32(policy))
            policy.base.save_pretrained(path, state_dict=state)
    except (OSError, SafetensorError) as error:
        raise SamplerError(f"sampler.weights_dir: cannot write {path}: {error}") from error
    return path


def names_in_float32(policy: Policy) -> list[str]:
    """Return parts of the names of weights that the model wants in float32, whatever the rest."""
    lists = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
    return [name for each in lists for name in getattr(policy.base, each, None) or ()]


def narrow(
    state: dict[str, Tensor], dtype: torch.dtype, kept: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Round wider weights to a type as vLLM does when it loads them, in the memory of the CPU.

    Args:
        state: weights by name.
        dtype: the type.
        kept: parts of the names of weights that stay as they are.
    """
    return {
        name: rounded.cpu()
        if (rounded := narrowed(name, weight, dtype, kept)) is not weight
        else weight
        for name, weight in state.items()
    }


def narrowed(
    name: str, weight: Tensor, dtype: torch.dtype | None, kept: Sequence[str] = ()
) -> Tensor:
    """Return one weight as `narrow` does, where it is; None for the dtype keeps all as they are."""
    if (
        dtype is None
        or not weight.is_floating_point()
        or weight.itemsize <= dtype.itemsize
        or any(part in name for part in kept)
    ):
        return weight
    return weight.to(dtype)


def copy_tied_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tied weights memory of their own, in place, so that all of them are written.

    vLLM 0.32 reloads a head that is tied to the embedding only if the file has it by name, and
    would otherwise go on with the old head.
    """
    addresses: set[int] = set()
    for name, weight in state.items():
        if weight.data_ptr() in addresses:
            state[name] = weight.clone()
        addresses.add(weight.data_ptr())
    return state


def remove_versions(folder: Path) -> None:
    """Remove the versions of a killed run from a folder."""
    for path in folder.glob("version-*"):
        shutil.rmtree(path, ignore_errors=True)
