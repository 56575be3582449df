"""Print groups of `rollouts.jsonl.zst` for a person to read: attempts in order of rank, and why.

All these texts come from a model, so each line goes through `text.visible`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from podium_trainer.display.text import DASH, cut, visible
from podium_trainer.records.rollouts.table import message_text

STANDING_INDENT = 2
TEXT_INDENT = 4
CUT_CELLS = 600


def print_group(console: Console, group: Mapping[str, Any], *, in_full: bool) -> None:
    """Print one group.

    Args:
        console: where to.
        group: a line of the file.
        in_full: whether long texts are shown whole, and not only their start and end.
    """
    console.print(Text(visible(heading(group)), style="bold"), soft_wrap=True)
    for name, text in about_prompt(group):
        print_text(console, name, text, style="cyan", in_full=in_full)
    for attempt in ordered(group["attempts"]):
        print_lines(console, Text(visible(standing(attempt)), style="green"), STANDING_INDENT)
        text = "\n".join(map(message_text, attempt["messages"])) or DASH
        print_text(console, "", text, in_full=in_full)
        if attempt["explanation"]:
            print_text(console, "judge", attempt["explanation"], style="dim", in_full=in_full)
    console.print()


def print_text(
    console: Console, name: str, text: str, *, style: str = "", in_full: bool = False
) -> None:
    """Print a text below its heading, with its own line ends."""
    shown = text if in_full else cut(text, CUT_CELLS)
    lines = [visible(line) for line in shown.splitlines()]
    label = f"{name}: " if name else ""
    print_lines(console, Text(label + "\n".join(lines), style=style), TEXT_INDENT)


def print_lines(console: Console, text: Text, indent: int) -> None:
    """Print a text with each of its lines indented, and no spaces at their ends."""
    for line in text.wrap(console, console.width - indent, overflow="fold"):
        line.rstrip()
        console.print(Text(" " * indent) + line)


def heading(group: Mapping[str, Any]) -> str:
    """Return in one line which group it is, and what became of it."""
    kind = "held out" if group["kind"] == "held_out" else None
    fate = "trained on" if group["is_trained"] else "not trained on"
    ranking = [f"judge {group['judge']}", group["ranking_id"]] if group["ranking_id"] else []
    sure = f"reliability {group['reliability']:.2f}" if group["reliability"] is not None else None
    parts = [f"step {group['step']}", group["prompt_id"], kind or fate, *ranking, sure]
    return " · ".join(part for part in parts if part)


def about_prompt(group: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of the prompt with their names, and why the group failed."""
    for message in group["prompt"]:
        yield str(message.get("role", "prompt")), message_text(message)
    for name in ("task", "reference", "error"):
        if group[name] is not None:
            yield name, group[name]


def standing(attempt: Mapping[str, Any]) -> str:
    """Return in one line how an attempt did."""
    rank, flags = attempt["rank"], attempt["flags"]
    parts = [
        f"#{rank:g}" if rank is not None else "not ranked",
        "of step 0" if attempt["is_baseline"] else None,
        told("reward", attempt["reward"]),
        told("verified", attempt["verified"], ".3g"),
        told("advantage", attempt["advantage"], "+.3f"),
        told("score", attempt["task_score"], ".3g"),
        f"{attempt['tokens']} tokens" if attempt["tokens"] is not None else None,
        "cut off" if attempt["finish_reason"] == "length" else None,
        *(f"[{flag}]" for flag in flags),
    ]
    return " · ".join(part for part in parts if part)


def told(name: str, value: float | None, form: str = ".3f") -> str | None:
    return None if value is None else f"{name} {value:{form}}"


def ordered(attempts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return attempts by rank, the best first; those without a rank are last."""
    return sorted(attempts, key=lambda each: (each["rank"] is None, each["rank"] or 0.0))
