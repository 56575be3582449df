"""Write a version's weights into a folder that vLLM servers can load."""

import shutil
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers import SamplerError


def save_weights(policy: Policy, folder: Path, version: int) -> Path:
    """Write the weights (the adapter alone, if there is one) into the version's own folder.

    Returns:
        The version's folder, below `folder`.

    Raises:
        SamplerError: If it cannot be written.
    """
    path = folder / f"version-{version:06d}"
    try:
        if policy.is_lora:
            policy.model.save_pretrained(path)
        else:
            state = copy_tied_weights(policy.base.state_dict())
            policy.base.save_pretrained(path, state_dict=state)
    except (OSError, SafetensorError) as error:
        raise SamplerError(f"sampler.weights_dir: cannot write {path}: {error}") from error
    return path


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
