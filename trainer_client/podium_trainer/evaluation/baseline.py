"""Keep the held-out attempts of step 0 in the run's folder, for all later comparisons.

`baseline.jsonl` has one line for each attempt: the prompt's id, the attempt's messages with the
prompt first, its finish reason and the reward of its environment.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from podium_trainer.evaluation.win_rate import Played
from podium_trainer.tasks.task import Prompt

NAME = "baseline.jsonl"


class BaselineError(Exception):
    """The attempts of step 0 cannot be kept or read; one line with the reason and the remedy."""


def write_baseline(path: Path, attempts: Mapping[str, Sequence[Played]]) -> None:
    """Write the attempts at each prompt, by the prompt's id; do all of it or nothing.

    Raises:
        BaselineError: If the file cannot be written.
    """
    partial = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            for prompt_id, group in attempts.items():
                for each in group:
                    line = {
                        "prompt_id": prompt_id,
                        "messages": list(each.messages),
                        "finish_reason": each.finish_reason,
                        "environment_reward": each.environment_reward,
                    }
                    file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise BaselineError(
            f"{path} cannot be written: {error}: make room, then add --resume"
        ) from error


def read_baseline(path: Path, prompts: Sequence[Prompt]) -> dict[str, list[Played]]:
    """Read the attempts at these prompts.

    Attempts at a prompt whose messages have changed are left out, because they answer another one.

    Returns:
        The attempts by the prompt's id; empty if there is no such file.

    Raises:
        BaselineError: If the file cannot be read.
    """
    if not path.is_file():
        return {}
    asked = {prompt.id: json.loads(json.dumps(list(prompt.messages))) for prompt in prompts}
    attempts: dict[str, list[Played]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            name, messages = record["prompt_id"], record["messages"]
            if name in asked and messages[: len(asked[name])] == asked[name]:
                attempts.setdefault(name, []).append(
                    Played(messages, record["finish_reason"], record.get("environment_reward"))
                )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaselineError(
            f"{path} cannot be read: {error}: delete it to go on without a win rate"
        ) from error
    return attempts
