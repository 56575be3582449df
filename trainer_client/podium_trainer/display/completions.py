"""A few groups, so that a person sees what is rewarded: completions, rewards, the judge's words.

All of these words are a stranger's: they pass `text.visible` and never become markup.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from podium_trainer.display.text import DASH, cut, visible
from podium_trainer.policy.samples import Attempt
from podium_trainer.tasks.task import Prompt
from podium_trainer.update.groups import RankedGroup

MAX_GROUPS = 3
LINES_PER_CELL = 3
COMPLETION_CELLS = 100
WORDS_CELLS = 80


@dataclass(frozen=True)
class Shown:
    """One attempt as it is shown.

    Attributes:
        reward: None if the group failed.
        words: the judge's; why there is no reward if the group failed.
    """

    reward: float | None
    completion: str
    words: str


def chosen(groups: Sequence[RankedGroup]) -> list[RankedGroup]:
    """At most three: those with signal first, yet one that failed always has a place."""
    failed = [group for group in groups if not group.is_ranked]
    signal = [group for group in groups if group.has_signal]
    tied = [group for group in groups if group.is_ranked and not group.has_signal]
    ordered = [*signal[: MAX_GROUPS - 1], *failed[:1], *signal[MAX_GROUPS - 1 :], *tied]
    return [*ordered, *failed[1:]][:MAX_GROUPS]


def shown_attempts(group: RankedGroup) -> Iterator[Shown]:
    """Best, middle and worst; the first attempt and the error if the group failed."""
    if not group.is_ranked:
        yield Shown(
            None, completion(group.prompt, group.attempts[0]), visible(str(group.answer.error))
        )
        return
    order = sorted(range(len(group.rewards)), key=lambda place: -group.rewards[place])
    results = group.answer.ranking.results if group.answer.ranking else []
    by_id = {result.id: result for result in results}
    for place in dict.fromkeys((order[0], order[len(order) // 2], order[-1])):
        result = by_id.get(str(place))
        words = (result.explanation if result else None) or DASH
        flags = "".join(f"[{flag}] " for flag in result.flags) if result else ""
        yield Shown(
            group.rewards[place],
            completion(group.prompt, group.attempts[place]),
            visible(flags + words),
        )


def completion(prompt: Prompt, attempt: Attempt) -> str:
    """All that came after the prompt, in one line: words, tool calls, what the tools said."""
    return visible("\n".join(map(spoken, attempt.messages[len(prompt.messages) :]))) or DASH


def spoken(message: Mapping[str, Any]) -> str:
    said = message.get("content")
    text = said if isinstance(said, str) else "" if said is None else str(said)
    if message.get("role") == "tool":
        return f"⇒ {text}"
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    called = [f"→ {call['name']}({call['arguments']})" for call in calls]
    return " ".join([text, *called] if text else called)


def heading(group: RankedGroup) -> str:
    """The prompt's id and last message, once where they are the same."""
    asked = spoken(group.prompt.messages[-1])
    return visible(asked if group.prompt.id == asked else f"{group.prompt.id} · {asked}")


def completions_view(step: int, groups: Sequence[RankedGroup], width: int) -> RenderableType:
    """A table per group, `width` columns wide."""
    parts: list[RenderableType] = [Text(f"completions of step {step}", style="bold")]
    parts += [Padding(group_table(group, width - 2), (0, 0, 0, 2)) for group in chosen(groups)]
    return Group(*parts)


def group_table(group: RankedGroup, width: int) -> Table:
    table = Table(
        title=Text(cut(heading(group), width - 2), style="cyan"),
        title_justify="left", width=width, box=None, pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    cells = (width - 7 - 4) // 2
    table.add_column("reward", justify="right", width=6, header_style="dim")
    table.add_column("completion", width=cells, overflow="fold", header_style="dim")
    words = "the judge's words" if group.is_ranked else "why it failed"
    table.add_column(words, width=cells, overflow="fold", header_style="dim")
    for each in shown_attempts(group):
        table.add_row(
            Text(DASH if each.reward is None else f"{each.reward:.3f}", style="bold"),
            Text(cut(each.completion, cells * LINES_PER_CELL)),
            Text(cut(each.words, cells * LINES_PER_CELL), style="" if group.is_ranked else "red"),
        )
    return table


def completions_lines(step: int, groups: Sequence[RankedGroup]) -> Iterator[str]:
    """The same without a terminal: plain lines."""
    for group in chosen(groups):
        yield f"  step {step} · {cut(heading(group), COMPLETION_CELLS)}"
        for each in shown_attempts(group):
            reward = DASH if each.reward is None else f"{each.reward:.3f}"
            words = f"{'' if group.is_ranked else 'failed: '}{cut(each.words, WORDS_CELLS)}"
            yield f"    {reward:>5}  {cut(each.completion, COMPLETION_CELLS)}  |  {words}"
