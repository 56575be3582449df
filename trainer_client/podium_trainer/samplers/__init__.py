"""Where completions come from: `local` (in this process) or `vllm` (servers over HTTP).

To add one: write a class with the methods of `Sampler`, say in `in_lockstep` whether it wants all
open requests in one call, and give it a branch in `open_run.open_sampler`.
"""

from collections.abc import Sequence
from typing import Protocol

from podium_trainer.policy.samples import Completion, Request


class SamplerError(Exception):
    """No completions came; one line that says why and what to do."""


class Sampler(Protocol):
    """Draws completions at one temperature from the whole distribution: no top_p, no top_k.

    Attributes:
        in_lockstep: True: one `sample` call at a time, with as many requests as there are. False:
            any number of threads may call at once.
        policy_version: the version of the weights that new completions start with.
    """

    in_lockstep: bool
    policy_version: int

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """The completions of each request, `num_completions` of them.

        Args:
            requests: any number of prompts.
            seed: decides the draws where the sampler can promise that; the vLLM one cannot.

        Raises:
            SamplerError: If they cannot be had.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
