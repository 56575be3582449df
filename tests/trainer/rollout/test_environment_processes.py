"""Environments in processes: they may die or hang, and cost their own attempt alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from podium_trainer.config import EnvironmentConfig
from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.environments.environments import Environments, open_environments
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import SamplingFailed
from podium_trainer.tasks.task import Environment, Task, TaskError, Tool
from tests.trainer.rollout.scripted_sampler import (
    CHAT,
    ScriptedSampler,
    make_prompt,
    tool_results,
    write_call,
)
from tests.trainer.rollout.worlds import AsyncMoody, Moody, NeverMade, NoWorld, Witness

PROMPT = make_prompt("hi")
TELL = Tool("tell", "A tool.", {"type": "object", "properties": {}})


def open_processes(
    make: Callable[[], Environment], stack: ExitStack, timeout_s: float = 20.0
) -> Environments:
    config = EnvironmentConfig(kind="process", workers=4, timeout_s=timeout_s)
    environments = stack.enter_context(open_environments(make, config))
    assert environments is not None
    return environments


@pytest.fixture(scope="module")
def tools() -> Iterator[ToolRunner]:
    with ToolRunner([], timeout_s=1.0) as opened:
        yield opened


def play(
    environments: Environments, tools: ToolRunner, *script: str, group_size: int = 1
) -> list[Attempt]:
    sampler = ScriptedSampler(script)
    task = Task([PROMPT], tools=[TELL], max_turns=9, environment=Moody)
    rollout = Rollout(
        task, CHAT, sampler, tools, environments=environments, max_tokens=100, context=4000
    )
    [group] = rollout.try_groups([PROMPT], group_size, seed="0")
    sampler.close()
    return [] if isinstance(group, SamplingFailed) else group


def children() -> set[int]:
    return {each.pid for each in psutil.Process().children()}


def test_a_process_serves_one_attempt_after_the_other(tools: ToolRunner, tmp_path: Path) -> None:
    before = children()
    with ExitStack() as stack:
        environments = open_processes(partial(Witness, tmp_path / "log"), stack)
        for _ in range(2):
            [attempt] = play(environments, tools, "a", "b", "c")
            assert attempt.messages[-1]["content"] == "count 3"
            assert attempt.environment_reward == 1.5
        [told] = play(environments, tools, write_call("tell", what="raise"), "a", "b", "c")
        assert tool_results(told) == ["error: RuntimeError: no luck"]
        [process] = children() - before
        lines = (tmp_path / "log").read_text().splitlines()
        assert lines == [f"{event} {process}" for event in ("reset", "close") * 3]
    assert not children() - before


@pytest.mark.parametrize(
    ("kind", "fault", "words"),
    [
        (Moody, "die", "step ended its process (exit status 3)"),
        (AsyncMoody, "raise", "step raised RuntimeError: no luck"),
    ],
)
def test_a_process_that_dies_or_raises_costs_its_own_attempt(
    tools: ToolRunner,
    caplog: pytest.LogCaptureFixture,
    kind: Callable[[], Environment],
    fault: str,
    words: str,
) -> None:
    with ExitStack() as stack:
        environments = open_processes(kind, stack)
        script = ["a", fault, "b", "c", "d", "e", "f"]
        [attempt, _] = play(environments, tools, *script, group_size=3)
    assert attempt.messages[-1]["content"] == "count 3"
    assert words in caplog.text
    assert ("worlds.py" in caplog.text) == (fault == "raise")


def test_a_process_that_hangs_is_killed(
    tools: ToolRunner, caplog: pytest.LogCaptureFixture
) -> None:
    before = children()
    with ExitStack() as stack:
        environments = open_processes(Moody, stack, timeout_s=4.0)
        assert play(environments, tools, "hang for long") == []
        assert not children() - before
    assert "step took longer than 4 s" in caplog.text


def test_an_environment_not_made_or_not_sent_is_explained(
    tools: ToolRunner, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        assert play(open_processes(NeverMade, stack), tools) == []
        assert "its making raised OSError: no room" in caplog.text
        no_world: Any = NoWorld
        assert play(open_processes(no_world, stack), tools) == []
        assert "NoWorld is no environment: it has no step, no close" in caplog.text
        with pytest.raises(TaskError, match="must be importable by name"):
            open_processes(lambda: Moody(), stack)


def test_an_open_environment_is_closed_when_the_trainer_is_gone(tmp_path: Path) -> None:
    from podium_trainer.rollout.environments.processes import Processes

    with Processes(partial(Witness, tmp_path / "log"), timeout_s=20.0) as processes:
        processes.make().reset(PROMPT)  # nothing closes it, as after a kill
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == [
        "reset",
        "close",
    ]
