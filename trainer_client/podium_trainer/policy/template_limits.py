"""Write messages so that a chat template with limits shows all of them.

Some templates refuse a system message, a tool's result or two messages of the user in a row, or
leave them out without a word, and some do not begin the assistant's turn. What one does is seen
once, from messages that have a mark; what it does not show is then said by the user.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

Message = Mapping[str, Any]
Apply = Callable[
    [Sequence[Message], bool], str
]  # messages, and whether the assistant's turn begins
MARK = "podium-mark"
MARKED = {role: {"role": role, "content": MARK} for role in ("system", "user", "assistant")}
USER, ASSISTANT = ({"role": role, "content": "text"} for role in ("user", "assistant"))
RESULT = {"role": "tool", "content": MARK, "tool_call_id": "call_1_0"}


@dataclass(frozen=True)
class TemplateLimits:
    """The limits of what a template shows.

    Attributes:
        takes_system: whether it shows a system message.
        takes_results: whether it shows messages of the role `tool`.
        takes_repeats: whether it shows two messages of the user in a row.
        opening: what begins the assistant's turn, where the template leaves that out.
    """

    takes_system: bool = True
    takes_results: bool = True
    takes_repeats: bool = True
    opening: str = ""

    def fit(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages in a form that the template shows whole."""
        hidden = {"system": not self.takes_system, "tool": not self.takes_results}
        joins = not (self.takes_system and self.takes_repeats)
        fitted: list[Message] = []
        for message in messages:
            if hidden.get(message["role"]):
                message = {"role": "user", "content": message["content"]}
            if joins and fitted and fitted[-1]["role"] == message["role"] == "user":
                message = {
                    **message,
                    "content": f"{fitted.pop()['content']}\n\n{message['content']}",
                }
            fitted.append(message)
        return fitted


def find_limits(apply: Apply, *, has_tools: bool) -> TemplateLimits:
    """Find out what a template shows.

    Args:
        apply: applies the template.
        has_tools: whether the template speaks of tools; one that does shows their results.
    """

    def shows(*messages: Message) -> bool:
        return MARK in (try_apply(apply, messages) or "")

    if not shows(MARKED["user"]):  # it wants more than a question, and there is no telling what
        return TemplateLimits()
    return TemplateLimits(
        takes_system=shows(MARKED["system"], USER),
        takes_results=has_tools or shows(USER, ASSISTANT, RESULT),
        takes_repeats=shows(USER, MARKED["user"]),
        opening=find_opening(apply),
    )


def find_opening(apply: Apply) -> str:
    """Return what stands between a question and its answer; empty if a prompt ends with that."""
    prompt = try_apply(apply, [USER])
    whole = try_apply(apply, [USER, MARKED["assistant"]])
    if prompt is None or whole is None or prompt != try_apply(apply, [USER], begins=True):
        return ""
    between, _, _ = whole.removeprefix(prompt).partition(MARK)
    return between if whole.startswith(prompt) and between.strip() else ""


def try_apply(apply: Apply, messages: Sequence[Message], *, begins: bool = False) -> str | None:
    """Return what a template makes of messages; None if it refuses them."""
    try:
        return apply(messages, begins)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return None
