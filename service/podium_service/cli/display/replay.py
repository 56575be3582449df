"""A stored ranking with the prompts and replies behind it."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from podium_service.cli.display.rankings import ranking_table
from podium_service.cli.display.text import literal, visible
from podium_service.schemas import Ranking


def print_replay(
    console: Console, ranking: dict[str, Any], calls: Sequence[dict[str, Any]]
) -> None:
    """A past ranking, then every prompt and reply behind it, word for word and unwrapped."""
    console.print(ranking_table(Ranking.model_validate(ranking["answer"])))
    for call in calls:
        outcome = f"no verdict: {call['fault']}" if call["fault"] else "verdict"
        heading = (
            f"pass {call['pass_index'] + 1} · judge {call['judge']} · {call['model']} · "
            f"{call['latency_s']:.2f} s · {outcome}"
        )
        console.print(literal(f"\n━━ {heading}", style="bold"))
        for message in call["messages"]:
            console.print(literal(f"── {message['role']}", style="cyan"))
            _write(console, message["content"])
        console.print(Text("── reply", style="green"))
        _write(console, call["reply"])


def _write(console: Console, text: str) -> None:
    """As it is: rich would wrap lines and expand tabs."""
    console.file.write(visible(text) + "\n")
