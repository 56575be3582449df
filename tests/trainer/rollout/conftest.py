"""Rollouts of a scripted sampler with the tests' tools."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.environments.environments import Environments
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import SamplingFailed
from podium_trainer.tasks.task import Environment, Prompt, Task, Tool
from tests.trainer.rollout.scripted_sampler import (
    ScriptedSampler,
    assert_consistent,
    make_prompt,
)
from tests.trainer.tools import TOOLS


@pytest.fixture(scope="module")
def tools() -> Iterator[ToolRunner]:
    with ToolRunner(TOOLS, timeout_s=5.0, num_processes=1) as opened:
        yield opened


RunRollout = Callable[..., list[list[Attempt]]]


@pytest.fixture
def run_rollout(tools: ToolRunner) -> RunRollout:
    """Return a function that samples groups with a script, which must be used up."""

    def run(
        sampler: ScriptedSampler,
        *questions: str,
        group_size: int = 1,
        max_turns: int = 3,
        with_tools: bool = True,
        max_tokens: int = 100,
        context: int = 4000,
        **more: Any,
    ) -> list[list[Attempt]]:
        prompts = [make_prompt(question) for question in questions or ["hi"]]
        task = Task(prompts, tools=TOOLS if with_tools else (), max_turns=max_turns)
        rollout = Rollout(
            task, sampler.chat, sampler, tools, max_tokens=max_tokens, context=context
        )
        groups = rollout.sample_groups(prompts, group_size, **({"seed": "0/1"} | more))
        sampler.close()
        for attempt in (attempt for group in groups for attempt in group):
            for sample in attempt.samples:
                assert_consistent(sample)
        return groups

    return run


Play = Callable[..., list[list[Attempt]]]


@pytest.fixture
def play(tools: ToolRunner) -> Play:
    """Return a function that plays an environment by a script, which must be used up.

    A group that failed is empty.
    """

    def run(
        make: Callable[[], Environment],
        *script: Any,
        prompts: Sequence[Prompt] = (make_prompt("hi"),),
        group_size: int = 1,
        max_turns: int = 9,
        with_tools: Sequence[Tool] = (),
        calls_to_step: bool = False,
        workers: int = 4,
        context: int = 4000,
        timeout_s: float = 10.0,
    ) -> list[list[Attempt]]:
        sampler = ScriptedSampler(script)
        task = Task(
            prompts, tools=with_tools, max_turns=max_turns, environment=make,
            calls_to_step=calls_to_step,
        )  # fmt: skip
        with Environments(make, workers=workers, timeout_s=timeout_s) as environments:
            rollout = Rollout(
                task, sampler.chat, sampler, tools,
                environments=environments, max_tokens=100, context=context,
            )  # fmt: skip
            played = rollout.try_groups(prompts, group_size, seed="0")
        groups = [[] if isinstance(each, SamplingFailed) else each for each in played]
        sampler.close()
        for attempt in (attempt for group in groups for attempt in group):
            for sample in attempt.samples:
                assert_consistent(sample)
        return groups

    return run
