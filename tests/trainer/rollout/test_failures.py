"""Groups that the sampler fails at: only they are left out, and they are told apart by cause."""

from collections.abc import Sequence

import pytest

from podium_trainer.policy.samples import Completion, Request
from podium_trainer.rollout.failures import describe_failures, part_failures
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import SamplerError, SamplingFailed
from podium_trainer.tasks.task import Task
from tests.trainer.rollout.scripted_sampler import CHAT, ScriptedSampler, make_prompt, write_call
from tests.trainer.tiny import END
from tests.trainer.tools import TOOLS

PROMPTS = [make_prompt(word) for word in ("good", "bad", "fine")]


class PickySampler:
    """Draws a stop token for every prompt but those with the word `bad`."""

    policy_version = 0
    servers_ready = None

    def __init__(self, *, in_lockstep: bool, error: SamplerError) -> None:
        self.in_lockstep = in_lockstep
        self.error = error
        self.calls = 0

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        self.calls += 1
        if any("bad" in CHAT.decode(request.prompt_ids) for request in requests):
            raise self.error
        return [
            [Completion([END], [-1.0], "stop", [0])] * each.num_completions for each in requests
        ]

    def close(self) -> None: ...


def make_rollout(tools: ToolRunner, sampler: PickySampler) -> Rollout:
    return Rollout(Task(PROMPTS), CHAT, sampler, tools, max_tokens=9, context=999)


@pytest.mark.parametrize(("in_lockstep", "calls"), [(False, 3), (True, 4)])
def test_a_prompt_that_fails_costs_only_its_own_group(
    tools: ToolRunner, in_lockstep: bool, calls: int
) -> None:
    sampler = PickySampler(in_lockstep=in_lockstep, error=SamplingFailed("no", "refused"))
    progress: list[tuple[int, int]] = []
    played = make_rollout(tools, sampler).try_groups(
        PROMPTS, 2, seed="0", on_progress=lambda *at: progress.append(at)
    )
    prompts, groups, failures = part_failures(PROMPTS, played)
    assert prompts == [PROMPTS[0], PROMPTS[2]]
    assert [len(group) for group in groups] == [2, 2]
    assert failures == [sampler.error]
    assert sampler.calls == calls
    assert progress == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("in_lockstep", [False, True])
def test_a_sampler_that_fails_for_good_ends_all(tools: ToolRunner, in_lockstep: bool) -> None:
    sampler = PickySampler(in_lockstep=in_lockstep, error=SamplerError("no server is left"))
    with pytest.raises(SamplerError, match="no server is left"):
        make_rollout(tools, sampler).try_groups(PROMPTS, 2, seed="0")


def test_whoever_wants_all_groups_gets_the_failure(tools: ToolRunner) -> None:
    sampler = PickySampler(in_lockstep=True, error=SamplingFailed("too long", "refused"))
    with pytest.raises(SamplingFailed, match="too long"):
        make_rollout(tools, sampler).sample_groups(PROMPTS, 2, seed="0")


def test_failures_are_told_in_one_line_by_cause() -> None:
    failures = [
        SamplingFailed("nan", "not_finite"),
        SamplingFailed("late", "unanswered"),
        SamplingFailed("later", "unanswered"),
    ]
    assert describe_failures(failures, 8) == (
        "3 of 8 groups were not sampled (2 not answered, 1 not finite): later"
    )


def test_a_group_without_an_open_attempt_does_not_wait(tools: ToolRunner) -> None:
    call = write_call("add", a=1, b=2)
    sampler = ScriptedSampler([call, "right", "at last"])
    prompts = [make_prompt("sum"), make_prompt("word")]
    task = Task(prompts, tools=TOOLS, max_turns=3)
    playing = Rollout(task, CHAT, sampler, tools, max_tokens=100, context=4000).play(
        prompts, 1, seed="0"
    )
    assert next(playing)[0] == 1
    assert len(sampler.requests) == 1
    assert [place for place, _ in playing] == [0]
    sampler.close()
