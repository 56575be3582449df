"""Draw completions from the policy: in this process (`local`) or from vLLM servers (`vllm`).

To add a sampler:

1. Write a class with the methods of `Sampler`. Set `in_lockstep` if it wants all open requests of a
   step in one call.
2. Choose how it gets new weights: one of weight_sync.py, or a class of your own with `push`.
3. Add its name to `SamplerConfig.kind`, and a branch for it to `run.build.open_sampler`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Literal, Protocol

from podium_trainer.policy.samples import Completion, Request

Cause = Literal["unanswered", "refused", "not_finite", "environment"]


class SamplerError(Exception):
    """A sampler cannot do what it was asked for; one line with the reason and the remedy."""


class SamplingFailed(SamplerError):
    """A request has no completions that can be used, while others may have some.

    Attributes:
        cause: no answer came in time, the request was refused, a logprob is not finite, or the
            environments of the attempts failed.
    """

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


class Sampler(Protocol):
    """Draws completions at one temperature from the whole distribution: no top_p, no top_k.

    Attributes:
        in_lockstep: True if one thread calls `sample` at a time, with as many requests as there
            are; False if any number of threads may call at once.
        servers_ready: the number of servers that may be asked; None if there are none.
    """

    in_lockstep: bool

    @property
    def servers_ready(self) -> int | None: ...

    @property
    def policy_version(self) -> int:
        """The version of the weights that new completions start with."""
        ...

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """Draw the completions of each request, `num_completions` of them.

        Args:
            requests: any number of prompts.
            seed: decides the draws, if the sampler can promise that; the vLLM one cannot.

        Raises:
            SamplingFailed: If those of a request cannot be drawn.
            SamplerError: If none can be drawn any more.
        """
        ...

    def close(self) -> None:
        """Close connections; calls of other threads end at once with an error."""
        ...


class Failures:
    """Notes what a block of a background thread fails with, so that the thread goes on.

    Else it would end unseen, and the run would wait for what the thread has to do. The same failure
    again and again is noted once.

    Args:
        who: begins the line.
        note: is told the line.
    """

    def __init__(self, who: str, note: Callable[[str], None]) -> None:
        self._who = who
        self._note = note
        self._noted = ""

    def __enter__(self) -> None: ...

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        words = " ".join(f"{type(error).__name__}: {error}".split())
        if words != self._noted:
            self._noted = words
            with suppress(OSError, ValueError):  # the display may be what has failed
                self._note(f"{self._who} has met {words}; it goes on")
        return True
