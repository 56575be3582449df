"""Check what an environment returns, and turn it into chat messages."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from podium_trainer.tasks.task import Message, Step


class BadObservation(ValueError):
    """An environment returned something that is no observation; one line that says what."""


class ReadStep(NamedTuple):
    """A step whose messages are chat messages."""

    messages: list[Message]
    is_done: bool
    reward: float | None
    is_truncated: bool


def read_reset(value: Any) -> list[Message]:
    """Return the messages that an environment begins with; none for None and an empty text."""
    return [] if value is None else read_messages(value)


def read_step(value: Any) -> ReadStep:
    """Check a step.

    Raises:
        BadObservation: If the value is no step, or neither ends the attempt nor has a message.
    """
    if not isinstance(value, tuple) or not 2 <= len(value) <= 4:
        raise BadObservation(
            f"returned {describe(value)}: must be a Step or a tuple of messages, whether it is done"
            " and, if known, a reward and whether it was cut off"
        )
    step = Step(*value)
    messages = read_messages(step.messages)
    if not isinstance(step.is_done, bool):
        raise BadObservation(f"returned {describe(step.is_done)} for is_done: must be a bool")
    if not isinstance(step.is_truncated, bool):
        raise BadObservation(f"returned {describe(step.is_truncated)} for is_truncated: no bool")
    if not step.is_done and not messages:
        raise BadObservation("returned no message for the model, and is not done")
    return ReadStep(messages, step.is_done, read_reward(step.reward), step.is_truncated)


def read_reward(value: Any) -> float | None:
    """Return a reward as a float; raise BadObservation if it is no finite number."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise BadObservation(f"returned {describe(value)} for a reward: no number") from error
    if not math.isfinite(number):
        raise BadObservation(f"returned the reward {number}: must be finite")
    return number


def read_messages(value: Any) -> list[Message]:
    """Return chat messages; a text is what the user says, and an empty text is no message."""
    if isinstance(value, str):
        messages: Sequence[Any] = [{"role": "user", "content": value}] if value else []
    elif isinstance(value, Sequence):
        messages = value
    else:
        raise BadObservation(f"returned {describe(value)} for messages: must be a text or a list")
    for message in messages:
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(key), str) for key in ("role", "content")
        ):
            raise BadObservation(
                f"returned the message {describe(message)}: must have a role and a content, as text"
            )
    try:
        json.dumps(list(messages), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadObservation(f"returned messages that are not JSON: {error}") from error
    return [dict(message) for message in messages]


def describe(value: Any) -> str:
    """Describe a value in a few words, without calling anything of it."""
    if value is None or isinstance(value, str | int | float | bool):
        return repr(value)[:80]
    return f"a {type(value).__name__}"
