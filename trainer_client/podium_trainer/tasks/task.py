"""What the policy is trained on: prompts, tools and how held-out attempts are scored."""

import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = Mapping[str, Any]


class TaskError(ValueError):
    """A task cannot be used; one line that says why and what to do."""


@dataclass(frozen=True)
class Prompt:
    """What a group of trajectories starts from.

    Attributes:
        id: unique in its task.
        messages: OpenAI chat messages.
        task: what is to be done, in words for the judge; None: the messages say it.
        reference: a known good answer, for the judge and for `score`.
    """

    id: str
    messages: Sequence[Message]
    task: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Tool:
    """A Python function that the model may call.

    Attributes:
        name, description: what the model is told.
        parameters: JSON schema of the arguments, an object.
        function: called with the arguments by keyword in a process of its own, so it must be
            importable; its result's `str` is what the model reads.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., object]

    def __post_init__(self) -> None:
        try:
            pickle.dumps(self.function)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TaskError(
                f"tool {self.name!r}: its function must be importable by name: {error}"
            ) from error

    def definition(self) -> dict[str, Any]:
        """As OpenAI tools are written."""
        about = {"name": self.name, "description": self.description}
        return {"type": "function", "function": about | {"parameters": self.parameters}}


def no_score(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """For tasks without a way to tell right from wrong."""
    return None


@dataclass(frozen=True)
class Task:
    """Prompts to train on, prompts to be tested on, tools.

    Attributes:
        train: prompts in any order; they are shuffled anew each epoch.
        held_out: prompts that are never trained on.
        tools: empty for single-turn tasks.
        max_turns: the most completions of one trajectory.
        score: how right an attempt is, in [0, 1]; None: it cannot be told. It measures the held-out
            set and never trains.
    """

    train: Sequence[Prompt]
    held_out: Sequence[Prompt] = ()
    tools: Sequence[Tool] = ()
    max_turns: int = 1
    score: Callable[[Prompt, Sequence[Message]], float | None] = no_score

    def __post_init__(self) -> None:
        if not self.train:
            raise TaskError("the task yields no prompt to train on")
        ids = [prompt.id for prompt in (*self.train, *self.held_out)]
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise TaskError(f"prompt id {twice!r} comes twice: ids must be unique in a task")


@dataclass
class PromptCursor:
    """Prompts without end, each epoch in an order of its own.

    Attributes:
        prompts: what is drawn from.
        seed: decides the orders.
        taken: how many prompts were taken so far; all the state there is.
    """

    prompts: Sequence[Prompt]
    seed: int
    taken: int = 0
    _orders: dict[int, list[int]] = field(default_factory=dict, repr=False)

    def take(self, count: int) -> list[Prompt]:
        """The next `count` prompts."""
        places = range(self.taken, self.taken + count)
        self.taken += count
        return [self.prompts[self._index(place)] for place in places]

    def _index(self, place: int) -> int:
        epoch, at = divmod(place, len(self.prompts))
        if epoch not in self._orders:
            order = list(range(len(self.prompts)))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)
            self._orders = {epoch: order}
        return self._orders[epoch][at]
