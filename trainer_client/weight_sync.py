"""New weights → sampler. After `push(version)` returns, new completions come from that version."""

from typing import Protocol

from trainer_client.samplers.local import LocalSampler


class WeightSync(Protocol):
    """To add a way: write a class with this method and give it a branch in `open_run`."""

    def push(self, version: int) -> None:
        """Give the sampler the policy's weights under this version.

        Raises:
            SamplerError: If it does not take them in time.
        """
        ...


class SharedWeights:
    """The sampler reads the policy's own memory: only the version changes."""

    def __init__(self, sampler: LocalSampler) -> None:
        self.sampler = sampler

    def push(self, version: int) -> None:
        self.sampler.policy_version = version
