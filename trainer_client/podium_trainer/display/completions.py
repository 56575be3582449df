"""Show a few groups to a person: completions, rewards and the judge's explanations.

All these texts come from a model, so they go through `text.visible` and never become markup.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from podium_trainer.display.text import DASH, cut, visible
from podium_trainer.policy.samples import Attempt
from podium_trainer.records.rollouts.table import message_text
from podium_trainer.tasks.task import Prompt
from podium_trainer.update.groups import RankedGroup

MAX_GROUPS = 3
LINES_PER_CELL = 3
COMPLETION_CELLS = 100
EXPLANATION_CELLS = 80


@dataclass(frozen=True)
class ShownAttempt:
    """One attempt as it is shown.

    Attributes:
        reward: the reward; None if the group failed.
        completion: the attempt in one line.
        explanation: the judge's explanation, or the error of a group that failed.
    """

    reward: float | None
    completion: str
    explanation: str


def choose_groups(groups: Sequence[RankedGroup]) -> list[RankedGroup]:
    """Choose at most three groups: groups with signal first, and one that failed, if any did."""
    failed = [group for group in groups if not group.is_ranked]
    signal = [group for group in groups if group.has_signal]
    tied = [group for group in groups if group.is_ranked and not group.has_signal]
    ordered = [*signal[: MAX_GROUPS - 1], *failed[:1], *signal[MAX_GROUPS - 1 :], *tied]
    return [*ordered, *failed[1:]][:MAX_GROUPS]


def shown_attempts(group: RankedGroup) -> Iterator[ShownAttempt]:
    """Yield the best, a middle and the worst attempt; of a failed group the first and the error."""
    if not group.is_ranked:
        yield ShownAttempt(
            None, completion(group.prompt, group.attempts[0]), visible(str(group.answer.error))
        )
        return
    order = sorted(range(len(group.rewards)), key=lambda place: -group.rewards[place])
    results = group.answer.ranking.results if group.answer.ranking else []
    by_id = {result.id: result for result in results}
    for place in dict.fromkeys((order[0], order[len(order) // 2], order[-1])):
        result = by_id.get(str(place))
        explanation = (result.explanation if result else None) or DASH
        flags = "".join(f"[{flag}] " for flag in result.flags) if result else ""
        yield ShownAttempt(
            group.rewards[place],
            completion(group.prompt, group.attempts[place]),
            visible(flags + explanation),
        )


def completion(prompt: Prompt, attempt: Attempt) -> str:
    """Return in one line what follows the prompt: texts, tool calls and tool results."""
    return visible("\n".join(map(message_text, attempt.messages[len(prompt.messages) :]))) or DASH


def heading(group: RankedGroup) -> str:
    """Return the prompt's id and its last message; only one of them if they are equal."""
    text = message_text(group.prompt.messages[-1])
    return visible(text if group.prompt.id == text else f"{group.prompt.id} · {text}")


def completions_view(step: int, groups: Sequence[RankedGroup], width: int) -> RenderableType:
    """Return a table per group, `width` columns wide."""
    parts: list[RenderableType] = [Text(f"completions of step {step}", style="bold")]
    parts += [
        Padding(group_table(group, width - 2), (0, 0, 0, 2)) for group in choose_groups(groups)
    ]
    return Group(*parts)


def group_table(group: RankedGroup, width: int) -> Table:
    table = Table(
        title=Text(cut(heading(group), width - 2), style="cyan"),
        title_justify="left", width=width, box=None, pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    cells = (width - 7 - 4) // 2
    table.add_column("reward", justify="right", width=6, header_style="dim")
    table.add_column("completion", width=cells, overflow="fold", header_style="dim")
    title = "the judge's explanation" if group.is_ranked else "why it failed"
    table.add_column(title, width=cells, overflow="fold", header_style="dim")
    for each in shown_attempts(group):
        table.add_row(
            Text(DASH if each.reward is None else f"{each.reward:.3f}", style="bold"),
            Text(cut(each.completion, cells * LINES_PER_CELL)),
            Text(
                cut(each.explanation, cells * LINES_PER_CELL),
                style="" if group.is_ranked else "red",
            ),
        )
    return table


def completions_lines(step: int, groups: Sequence[RankedGroup]) -> Iterator[str]:
    """Yield the same as `completions_view` in plain lines, for a log."""
    for group in choose_groups(groups):
        yield f"  step {step} · {cut(heading(group), COMPLETION_CELLS)}"
        for each in shown_attempts(group):
            reward = DASH if each.reward is None else f"{each.reward:.3f}"
            explanation = (
                f"{'' if group.is_ranked else 'failed: '}{cut(each.explanation, EXPLANATION_CELLS)}"
            )
            yield f"    {reward:>5}  {cut(each.completion, COMPLETION_CELLS)}  |  {explanation}"
