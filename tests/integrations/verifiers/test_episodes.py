"""The trainer's task `verifiers` plays real tasksets: one answer, tools, and a talk."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.tasks import open_task
from podium_trainer.tasks.task import Message, Prompt, Step, Task, TaskError

TASKSETS = Path(__file__).parent / "tasksets"


@pytest.fixture(autouse=True)
def _tasksets_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TASKSETS))
    paths = [str(TASKSETS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # for servers of tools


def call(name: str, **arguments: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    made = {"id": f"call_{name}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def say(text: str) -> Message:
    return {"role": "assistant", "content": text}


def play(task: Task, prompt: Prompt, completions: Sequence[Message]) -> tuple[Any, list[Step]]:
    """Play one attempt; return what the reset said, and the steps."""
    assert task.environment is not None
    environment = task.environment()

    async def run() -> tuple[Any, list[Step]]:
        try:
            first = await environment.reset(prompt)
            return first, [await environment.step(each) for each in completions]
        finally:
            await environment.close()

    return asyncio.run(run())


def test_an_answer_is_scored_by_all_rewards() -> None:
    task = open_task("verifiers", {"taskset": "vf-sums", "held_out": 5, "reference": "answer"})
    assert (len(task.train), len(task.held_out), len(task.tools)) == (15, 5, 0)
    prompt = task.train[0]
    assert [m["role"] for m in prompt.messages] == ["system", "user"]
    assert prompt.reference is not None
    for text, reward in ((prompt.reference, 1.0), ("99", 0.5), ("none", 0.0)):
        assert play(task, prompt, [say(text)]) == ([], [Step("", True, reward)])


def test_attempts_play_side_by_side() -> None:
    task = open_task("verifiers", {"taskset": "vf-sums", "held_out": 0})
    assert task.environment is not None
    make = task.environment

    async def attempt(prompt: Prompt) -> float | None:
        environment = make()
        await environment.reset(prompt)
        await asyncio.sleep(0.2)
        reward = (await environment.step(say(prompt.row["answer"]))).reward
        await environment.close()
        return reward

    async def attempts() -> list[float | None]:
        return await asyncio.gather(*map(attempt, task.train))

    assert asyncio.run(attempts()) == [1.0] * 20


def test_a_reward_that_raises_fails_the_attempt() -> None:
    task = open_task("verifiers", {"taskset": "vf-sums"})
    with pytest.raises(Exception, match=r"^TaskError: .*no such sum"):
        play(task, task.held_out[0], [say("crash")])


def test_tools_run_in_their_server_and_keep_its_state() -> None:
    task = open_task("verifiers", {"taskset": "vf-till", "held_out": 0, "max_turns": 4})
    [tool] = task.tools
    assert (tool.name, tool.function, task.calls_to_step) == ("scan", None, True)
    assert tool.parameters["required"] == ["item"]
    prompt = next(p for p in task.train if p.row["total"] == 8)
    asked = [call("scan", item="pear"), call("scan", item="plum"), call("pay"), say("8")]
    _, steps = play(task, prompt, asked)
    results: list[Any] = [step.messages for step in steps]
    assert [[m["content"] for m in each] for each in results[:3]] == [
        ["3"], ["8"], ["error: unknown tool 'pay'"],
    ]  # fmt: skip
    assert results[0][0]["tool_call_id"] == "call_scan"
    assert steps[3] == Step("", True, 1.0)


def test_an_attempt_without_an_answer_in_time_is_cut_off() -> None:
    task = open_task("verifiers", {"taskset": "vf-till", "held_out": 0, "max_turns": 1})
    _, [step] = play(task, task.train[0], [call("scan", item="pear")])
    assert step == Step("", True, 0.0, is_truncated=True)


def test_a_talk_without_an_end_in_time_is_cut_off() -> None:
    task = open_task("verifiers", {"taskset": "vf-hints", "held_out": 0, "max_turns": 1})
    prompt = next(p for p in task.train if p.row["secret"] == 7)
    assert play(task, prompt, [say("5")])[1] == [Step("", True, 0.0, is_truncated=True)]
    assert play(task, prompt, [say("7")])[1] == [Step("", True, 1.0)]


def test_an_environment_may_talk_to_the_policy() -> None:
    task = open_task("verifiers", {"taskset": "vf-hints", "held_out": 0})
    prompt = next(p for p in task.train if p.row["secret"] == 7)
    assert prompt.messages == [{"role": "system", "content": "Guess."}]
    first, steps = play(task, prompt, [say("5"), say("8"), say("7")])
    assert first == [{"role": "user", "content": "From 1 to 10?"}]
    assert [step.messages for step in steps[:2]] == [
        [{"role": "user", "content": "Higher."}], [{"role": "user", "content": "Lower."}],
    ]  # fmt: skip
    assert steps[2] == Step("", True, 1.0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"taskset": "vf-none"}, "taskset 'vf-none' of verifiers cannot be used: ModuleNotFound"),
        ({"taskset": "vf-sums", "reference": "anwser"}, "'anwser': a task has the fields .*answer"),
        ({"taskset": "vf-sums", "config": {"id": "user-sim"}}, "has the agents assistant, user"),
        ({"taskset": "vf-sums", "config": {"agent": {"turns": 3}}}, "cannot be used: .*turns"),
    ],
)
def test_what_cannot_be_played_is_one_line(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(TaskError, match=reason) as caught:
        open_task("verifiers", options)
    assert "\n" not in str(caught.value)
