"""Define what a policy is trained on: prompts, tools and a score for held-out attempts."""

import pickle
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Message = Mapping[str, Any]
MAX_GROUP_ID_CHARS = 256  # the service refuses longer ids of groups, which hold a prompt's id


class TaskError(ValueError):
    """A task cannot be used; the message is one line with the reason and the remedy."""


class EnvironmentFault(Exception):
    """An environment cannot go on; one line that says why, so that no traceback is logged."""


@dataclass(frozen=True)
class Prompt:
    """The start that all trajectories of a group share.

    Attributes:
        id: unique in its task.
        messages: OpenAI chat messages.
        task: a description of the task for the judge; None if the messages say it.
        reference: a known good answer, for the judge and for `Task.score`.
        row: all columns of the row that the prompt was read from, for `Task.score`.
    """

    id: str
    messages: Sequence[Message]
    task: str | None = None
    reference: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """A Python function that the model may call.

    Attributes:
        name, description: how the tool is introduced to the model.
        parameters: JSON schema of the arguments, an object.
        function: called with the arguments by keyword in a process of its own, so it must be
            importable; the model reads the `str` of its result. None calls the method of the
            attempt's environment that has the tool's name.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., object] | None = None

    def __post_init__(self) -> None:
        try:
            pickle.dumps(self.function)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TaskError(
                f"tool {self.name!r}: its function must be importable by name: {error}"
            ) from error

    def definition(self) -> dict[str, Any]:
        """Return the tool as OpenAI requests define it."""
        function = {"name": self.name, "description": self.description}
        return {"type": "function", "function": function | {"parameters": self.parameters}}


class Step(NamedTuple):
    """The answer of an environment to a completion; a plain tuple does as well.

    Attributes:
        messages: what the model reads next: a text, which the user says, or chat messages. The
            judge reads them, too, so the last one may say how it ended.
        is_done: whether the attempt ends here.
        reward: what the step was worth; None if the environment does not tell.
        is_truncated: whether it is done because the environment cut the attempt off, by a limit of
            its own; the attempt's finish reason is then `length`.
    """

    messages: str | Sequence[Message]
    is_done: bool
    reward: float | None = None
    is_truncated: bool = False


class Environment(Protocol):
    """The world of one attempt, with a state of its own.

    `Task.environment` makes one for each attempt. A method may be `def` or `async def`. No two
    calls for one attempt run at once, except that `close` need not wait for a call that took too
    long. A method that raises, takes too long or returns something else fails its attempt alone.
    """

    def reset(self, prompt: Prompt) -> Any:
        """Begin; return what the model reads after the prompt: a text, messages, or None.

        The attempts at one prompt are compared, so they should begin alike.
        """

    def step(self, completion: Message) -> Any:
        """Take the model's message; return a `Step`.

        Without `Task.calls_to_step` it calls no tool.
        """

    def close(self) -> Any:
        """Free what the attempt holds; called once, also after a failure.

        It is not called where the process of the attempt was killed or died.
        """


def no_score(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Return None, for tasks that cannot tell a right answer from a wrong one."""
    return None


def environment_reward(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Stand for the sum of the rewards that the attempt's environment gave, as a task's score."""
    return None


@dataclass(frozen=True)
class Task:
    """Prompts to train on, prompts to test on, and what the model meets: tools, an environment.

    Attributes:
        train: prompts in any order; each epoch shuffles them anew.
        held_out: prompts that are never trained on.
        tools: empty for single-turn tasks.
        max_turns: the largest number of completions in one trajectory.
        score: maps a prompt and an attempt's messages to how right the attempt is, in [0, 1], or to
            None where that is unknown; or `environment_reward`. It measures held-out attempts and
            never trains.
        reward: the same for attempts that are trained on. It is sent with them as their
            `verified_reward`, which a judge with a `verified_weight` mixes into the reward.
        environment: makes the environment of one attempt, such as its class; None for none.
        calls_to_step: whether the environment's `step` gets completions that call tools as well,
            with their `tool_calls`; it then answers each call by a message of the role `tool`.
        notes: what is said at the start of a run, one line each.
        too_long: the number of prompts that were left out, because they leave no room for a
            completion; the run sets it.
    """

    train: Sequence[Prompt]
    held_out: Sequence[Prompt] = ()
    tools: Sequence[Tool] = ()
    max_turns: int = 1
    score: Callable[[Prompt, Sequence[Message]], float | None] = no_score
    reward: Callable[[Prompt, Sequence[Message]], float | None] = no_score
    environment: Callable[[], Environment] | None = None
    calls_to_step: bool = False
    notes: Sequence[str] = ()
    too_long: int = 0

    def __post_init__(self) -> None:
        if not self.train:
            raise TaskError("the task yields no prompt to train on")
        idle = [tool.name for tool in self.tools if tool.function is None]
        if idle and self.environment is None:
            raise TaskError(
                f"tool {idle[0]!r} has no function, and the task no environment to call: give one"
            )
        if self.calls_to_step and (self.environment is None or len(idle) < len(self.tools)):
            raise TaskError("calls_to_step needs an environment, and tools without a function")
        counts = Counter(prompt.id for prompt in (*self.train, *self.held_out))
        [(repeated, count)] = counts.most_common(1)
        if count > 1:
            raise TaskError(f"prompt id {repeated!r} comes twice: ids must be unique in a task")


@dataclass
class PromptCursor:
    """An endless sequence of prompts, in another order each epoch.

    Attributes:
        prompts: the prompts of one epoch.
        seed: decides the orders.
        num_taken: the number of prompts taken so far, which is all that a checkpoint must keep.
    """

    prompts: Sequence[Prompt]
    seed: int
    num_taken: int = 0
    _orders: dict[int, list[int]] = field(default_factory=dict, repr=False)

    def take(self, count: int) -> list[Prompt]:
        """Return the next `count` prompts."""
        positions = range(self.num_taken, self.num_taken + count)
        self.num_taken += count
        return [self.prompts[self._index(position)] for position in positions]

    def _index(self, position: int) -> int:
        """Return the index of the prompt at a position of the endless sequence."""
        epoch, offset = divmod(position, len(self.prompts))
        if epoch not in self._orders:
            order = list(range(len(self.prompts)))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)
            self._orders = {epoch: order}
        return self._orders[epoch][offset]
