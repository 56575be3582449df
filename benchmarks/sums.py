"""Addition with a judge that cannot add up without error: the task, and the judge's truth.

    judge = SumJudge(seed=0, noise_sd=0.6, slot_bias=0.4, grid=0.05)
    judge.reply(chat_request)  # which sum was asked for is read from the shared messages

Truth runs from -1 (no number) over what comes close to +1 (the sum and nothing else), so that in a
group half right and half hopeless it has standard deviation 1, the unit of a judge's noise.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.judges.reading import NothingShown, before_attempts
from benchmarks.judges.simulated import SimulatedJudge
from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.task import Prompt, Task

LARGEST = 18
_ASKED = re.compile(r"\b(\d) \+ (\d) =")
_SAID = re.compile(r'<message role="assistant">\n?(.*?)\n?</message>', re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]+")


def fresh_addition(copies: int = 20) -> Task:
    """Return the task `addition` with each prompt several times, which the judge can tell apart.

    The model sees the same words; but no group equals one that was ranked before, so none is
    answered from the service's store. Long trajectories never repeat; answers of one number do.
    """
    task = addition()
    train = [_numbered(prompt, copy) for copy in range(copies) for prompt in task.train]
    return replace(task, train=train)


def _numbered(prompt: Prompt, copy: int) -> Prompt:
    return replace(prompt, id=f"{prompt.id} ({copy})", task=f"Answer with the sum. Sheet {copy}.")


def closeness(said: str, total: int) -> float:
    """Return 1 for the sum alone, below a half for another number or more words, 0 without one."""
    bare = said.strip().removesuffix(".").rstrip()
    if bare == str(total):
        return 1.0
    number = _NUMBER.search(bare)
    return 0.5 * max(0.0, 1 - abs(int(number[0]) - total) / 10) if number else 0.0


def truth_of_body(total: int, body: str) -> float:
    """Return the quality of a trajectory as the judge is shown it, tagged or plain, in [-1, 1]."""
    said = _SAID.findall(body) or [body]
    return 2 * closeness(said[-1], total) - 1


class SumJudge:
    """One simulated judge a sum, with the same traits and noise of its own.

    Args:
        seed: of the noise.
        traits: of each `SimulatedJudge`.
    """

    def __init__(self, seed: int, **traits: Any) -> None:
        self.judges = [
            SimulatedJudge(partial(truth_of_body, total), seed=seed * 100 + total, **traits)
            for total in range(LARGEST + 1)
        ]

    def reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one chat request.

        Raises:
            NothingShown: If it asks for no sum, or shows no trajectory.
        """
        return self.judges[asked_total(request)].reply(request)


def asked_total(request: Mapping[str, Any]) -> int:
    """Return the sum that the shared messages ask for last; an example may come before it."""
    text = next(each["content"] for each in request["messages"] if each["role"] == "user")
    asked = _ASKED.findall(before_attempts(text))
    if not asked:
        raise NothingShown("no `a + b =` before the trajectories")
    one, other = asked[-1]
    return int(one) + int(other)
