"""Make ranked groups with any text in them, and a run's config and metrics rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from podium.answers import GroupReward, Ranking, TrajectoryResult, Usage
from podium.errors import JudgeFailed
from podium_trainer.config import ModelConfig, TaskConfig, TrainConfig
from podium_trainer.evaluation.evaluator import HeldOut
from podium_trainer.evaluation.win_rate import WinRate
from podium_trainer.policy.samples import Attempt, Sample
from podium_trainer.records.metrics import JsonlFile
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.records.rows.metrics import metrics_row
from podium_trainer.records.rows.timings import timings_row
from podium_trainer.tasks.task import Prompt
from podium_trainer.update.groups import RankedGroup
from podium_trainer.update.update import UpdateStats

HOSTILE = [
    "[red]markup[/red] [link=http://evil.example]here[/link] :smile:",
    "\x1b[2J\x1b[31mwiped\x1b]0;title\x07 \x9b2J \x7f \x08",
    "long " * 20_000,
    "\u202egnirts desrever\u202c \u2066isolate\u2069 \u200fשלום عربى",
    "two\nlines\r\nand\u2028more\x0bof\x0cthem\ttab",
    "\u0301" * 5_000 + "漢字" * 5_000,
    "\ud800 lone surrogate [/] [/bold]",
]
STATS = UpdateStats(0.1, 2.5, 0.0021, 0.99, 1.25, 0.0, 0.008, 0, None)


def config(out: Path, **more: Any) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(path="some/model-1B"), task=TaskConfig(name="addition"), out=out, **more
    )


def attempt(text: str, prompt: Prompt, *more: dict[str, Any]) -> Attempt:
    messages = [*prompt.messages, {"role": "assistant", "content": text}, *more]
    sample = Sample([1, 2, 3], [False, True, True], [0.0] * 3, [0.0] * 3, [-1, 0, 0])
    return Attempt(messages, [sample], "stop", 1)


def group(
    texts: Sequence[str],
    rewards: Sequence[float] | None,
    words: Sequence[str | None] = (),
    name: str = "What is 3 + 4?",
) -> RankedGroup:
    """Make a group of attempts at one prompt.

    Args:
        texts: one completion for each attempt.
        rewards: one for each attempt; None for a group that could not be ranked.
        words: the judge's explanations, or the words of the error.
        name: the prompt's id and message.
    """
    prompt = Prompt(name, [{"role": "user", "content": name}])
    attempts = [attempt(text, prompt) for text in texts]
    if rewards is None:
        error = JudgeFailed("verdict_invalid", 502, False, "r-1", " ".join(map(str, words)))
        return RankedGroup(prompt, attempts, GroupReward.from_error(error))
    results = [
        TrajectoryResult(id=str(index), rank=1.0, reward=reward, explanation=explanation)
        for index, (reward, explanation) in enumerate(zip(rewards, words, strict=True))
    ]
    usage = Usage(calls=3, prompt_tokens=900, completion_tokens=100, cost_usd=0.25)
    ranking = Ranking(
        id="k", judge="j", method="m", passes=1, results=results[::-1], reliability=0.5,
        cached=False, usage=usage,
    )  # fmt: skip
    return RankedGroup(prompt, attempts, GroupReward(list(rewards), True, ranking))


def step_rows(
    groups: Sequence[RankedGroup],
    held_out: float | None = None,
    stats: UpdateStats | None = STATS,
    wins: WinRate | None = None,
) -> tuple[Any, Any]:
    """Make a step's metrics and timings rows as the trainer does."""
    gathered = Gathered([each for each in groups if each.has_signal], list(groups))
    spent = {"rollout": 2.0, "rank": 1.0, "waited": 3.0, "update": 3.0, "sync": 0.0,
             "held_out": 0.0}  # fmt: skip
    idle = {"rollout": 0.625, "rank": 0.75, "update": 0.5}
    found = HeldOut([], held_out, wins)
    return metrics_row(gathered, stats, found, 1), timings_row(gathered, found, spent, idle)


def write_run(out: Path, held_out: Sequence[float | None], reward: float = 0.5) -> Path:
    """Write a run's folder with one step for each held-out score."""
    files = JsonlFile(out / "metrics.jsonl"), JsonlFile(out / "timings.jsonl")
    for step, score in enumerate(held_out):
        groups = [group(["a", "b"], [reward, 1.0], ["", ""])] if step else []
        for file, row in zip(files, step_rows(groups, score), strict=True):
            file.log(step, row)
    for file in files:
        file.close()
    (out / "config.yaml").write_text("task: {name: addition}\nmodel: {path: some/model-1B}\n")
    return out
