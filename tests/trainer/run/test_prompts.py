"""Prompts that are too long: they are left out and counted, and the run goes on."""

from pathlib import Path
from typing import Any

import pytest

from podium_trainer.records.metrics import read_rows
from podium_trainer.rollout.rollout import PromptTooLong, Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.run.checks.prompts import fit_prompts
from podium_trainer.tasks.task import Prompt, Task
from tests.fake_service import serve
from tests.trainer.rollout.scripted_sampler import CHAT, ScriptedSampler
from tests.trainer.run.test_run import service_that_fails_every_third_group
from tests.trainer.runs import settings, train

SHORT = [Prompt(name, [{"role": "user", "content": name}]) for name in "abc"]
LONG = [Prompt(f"long {n}", [{"role": "user", "content": "x" * 500}]) for n in range(2)]


def fit(task: Task) -> tuple[Task, list[list[int]]]:
    with ToolRunner([], timeout_s=1) as tools:
        rollout = Rollout(task, CHAT, ScriptedSampler([]), tools, max_tokens=10, context=300)
        return fit_prompts(task, rollout)


def test_long_prompts_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    task, first = fit(Task([LONG[0], *SHORT[:2]], [SHORT[2], LONG[1]], notes=["a note"]))
    assert ([*task.train], [*task.held_out]) == (SHORT[:2], SHORT[2:])
    assert task.too_long == 2
    assert first[0] == CHAT.encode(CHAT.render(SHORT[0].messages, None))
    assert [record.getMessage() for record in caplog.records] == [
        "a note",
        "1 of 3 prompts to train on and 1 of 2 held-out ones were left out: with"
        " sampler.max_tokens 10 they exceed the context of 300 tokens",
    ]


def test_a_task_of_long_prompts_alone_is_refused() -> None:
    with pytest.raises(PromptTooLong, match=r"prompt 'long 0' has .* exceeds the context of 300"):
        fit(Task(LONG, SHORT))


def test_the_metrics_of_a_run_keep_the_number(tmp_path: Path) -> None:
    with serve(service_that_fails_every_third_group()) as url:
        recipe: dict[str, Any] = settings(tmp_path, url, steps=1)
        with (tmp_path / "prompts.jsonl").open("a") as file:
            file.write('{"prompt": "%s"}\n' % ("x" * 600))
        train(recipe)
    assert [row["prompts_too_long"] for row in read_rows(tmp_path / "run/metrics.jsonl")] == [1, 1]
