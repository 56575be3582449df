"""What a format makes of a row: the attempts in it, and the group of the wire that they form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Row = dict[str, Any]


def prompt_of(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages before the first one of the assistant."""
    for index, message in enumerate(messages):
        if message.get("role") == "assistant":
            return messages[:index]
    return messages


@dataclass(frozen=True)
class Attempt:
    """One attempt of a row.

    Attributes:
        messages: OpenAI chat messages, the prompt first; empty if nothing was said.
        ids: what the row calls the attempt, under the names of `fields.IDS`.
        finish_reason: why the last completion ended, in OpenAI's words.
        tools: tool definitions that the attempt had, as they are in the row.
        asked: how many of the first messages are the prompt; 0 if nothing but the turns tells it.
    """

    messages: list[Message]
    ids: Row = field(default_factory=dict)
    finish_reason: str | None = None
    tools: list[Any] | None = None
    asked: int = 0

    @property
    def prompt(self) -> Sequence[Message]:
        """The prompt, which ends before the first turn of the assistant if nothing else tells."""
        return self.messages[: self.asked] if self.asked else prompt_of(self.messages)


@dataclass(frozen=True)
class Record:
    """The attempts of one prompt that one row holds, and the fields that tell its group.

    Attributes:
        attempts: one or more; those of several rows may form one group.
        fields: the row without what was said, to look up names of the group and references.
        group: the group as it stands in the row, if the row is one of Podium's own.
        trace: the trace that the record is a part of; see `grouping.last_of_traces`.
        at: when the part ended, in an order that texts have; empty if it is not known.
    """

    attempts: list[Attempt] = field(default_factory=list)
    fields: Row = field(default_factory=dict)
    group: Row | None = None
    trace: str | None = None
    at: str = ""


@dataclass(frozen=True)
class Format:
    """A form of rows.

    Attributes:
        name: the word after `--from`.
        about: what the form is, for people.
        fits: why a row is taken for this form, as a clause; None if it is not.
        read: the records of a row. It raises FormatError if they cannot be read.
    """

    name: str
    about: str
    fits: Callable[[Row], str | None]
    read: Callable[[Row], Sequence[Record]]
