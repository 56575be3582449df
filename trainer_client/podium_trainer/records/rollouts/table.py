"""Show the groups of a step as a table of completions, one row for each attempt."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

COLUMNS = ["step", "prompt", "completion", "rank", "reward", "advantage", "explanation"]
Cell = str | float | None


class TableListener(Protocol):
    """A tracker that shows tables."""

    def log_table(self, step: int, columns: Sequence[str], rows: Sequence[list[Cell]]) -> None: ...


class Tables:
    """Gives trackers a table of the groups every few steps, and of the first step.

    Args:
        trackers: get the tables; they are closed by others.
        every: steps between tables; 0 for none.
    """

    def __init__(self, trackers: Sequence[TableListener], every: int) -> None:
        self._trackers = trackers
        self._every = every

    def log(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Give the trackers a table if it is time to, and there is a group."""
        rows = table_rows(lines)
        if rows and self._every and (step % self._every == 0 or step == 1):
            for tracker in self._trackers:
                tracker.log_table(step, COLUMNS, rows)

    def close(self) -> None: ...


def table_rows(lines: Sequence[Mapping[str, Any]]) -> list[list[Cell]]:
    """Return a row for each attempt that was sampled to train on, in the order of COLUMNS."""
    return [
        [
            line["step"],
            message_text(line["prompt"][-1]),
            "\n".join(map(message_text, attempt["messages"])),
            attempt["rank"],
            attempt["reward"],
            attempt["advantage"],
            attempt["explanation"] or line["error"],
        ]
        for line in lines
        if line["kind"] == "train"
        for attempt in line["attempts"]
    ]


def message_text(message: Mapping[str, Any]) -> str:
    """Return what a message says and calls, or what a tool answered, as it was written."""
    content = message.get("content")
    text = content if isinstance(content, str) else "" if content is None else str(content)
    if message.get("reasoning_content") and not text and not message.get("tool_calls"):
        text = f"[no answer, only thoughts] {message['reasoning_content']}"
    if message.get("role") == "tool":
        return f"⇒ {text}"
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    written = [f"→ {call['name']}({call['arguments']})" for call in calls]
    return " ".join([text, *written] if text else written)
