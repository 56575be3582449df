"""Environments with a state per attempt: what they say, and how they fail."""

import time
from contextlib import suppress
from typing import Any

import pytest

from podium_trainer.rollout.environments.environments import Environments
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.tasks.task import Message, Step, Task, TaskError, Tool
from tests.trainer.rollout.conftest import Play
from tests.trainer.rollout.scripted_sampler import (
    CHAT,
    ScriptedSampler,
    make_prompt,
    tool_results,
    trained_ids,
    write_call,
)
from tests.trainer.rollout.worlds import (
    AsyncCounter,
    AsyncMoody,
    Begins,
    Counter,
    Moody,
    NeverMade,
    NoWorld,
    Slow,
    SlowToMake,
)
from tests.trainer.tiny import END
from tests.trainer.tools import TOOLS

LIMIT_S = 0.3
OWN_TOOLS = [
    Tool(name, "A tool.", {"type": "object", "properties": {}}) for name in ("add_own", "tell")
]


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Counter.log.clear()


@pytest.mark.parametrize("kind", [Counter, AsyncCounter])
def test_each_attempt_has_a_world_of_its_own(play: Play, kind: type[Counter]) -> None:
    [[first, second]] = play(kind, "a", "b", "c", "d", "e", "f", group_size=2)
    for attempt, said in ((first, "ace"), (second, "bdf")):
        assert [m["content"] for m in attempt.messages] == [
            "hi", said[0], "count 1", said[1], "count 2", said[2], "count 3",
        ]  # fmt: skip
        assert [m["role"] for m in attempt.messages[1:3]] == ["assistant", "user"]
        assert (attempt.finish_reason, attempt.num_turns) == ("stop", 3)
        assert attempt.environment_reward == 1.5
    assert kind.log == ["reset hi"] * 2 + ["close after 3 in 1 thread"] * 2


def test_observations_are_read_by_the_model_and_never_trained(play: Play) -> None:
    [[attempt]] = play(Counter, "a", "b", "c")
    [sample] = attempt.samples
    assert trained_ids(sample) == [*CHAT.encode("a"), END, *CHAT.encode("b"), END,
                                   *CHAT.encode("c"), END]  # fmt: skip
    assert CHAT.decode(sample.token_ids) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
        "<|im_start|>user\ncount 1<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\ncount 2<|im_end|>\n<|im_start|>assistant\nc<|im_end|>"
    )  # the last observation is for the judge alone


def test_an_attempt_cut_by_max_turns_is_marked_truncated(play: Play) -> None:
    [[attempt]] = play(Counter, "a", "b", max_turns=2)
    assert (attempt.finish_reason, attempt.num_turns) == ("length", 2)
    assert attempt.messages[-1]["content"] == "count 2"
    [[ended]] = play(Counter, "a", "b", "c", max_turns=3)
    assert ended.finish_reason == "stop"


class Limited(Counter):
    """Ends each attempt after its first step, by a limit of its own."""

    def step(self, completion: Message) -> Any:
        return Step("too late", is_done=True, is_truncated=True)


def test_an_attempt_cut_by_its_environment_is_truncated(play: Play) -> None:
    [[attempt]] = play(Limited, "a")
    assert (attempt.finish_reason, attempt.num_turns) == ("length", 1)
    assert (attempt.messages[-1]["content"], attempt.environment_reward) == ("too late", 0.0)


def test_a_completion_that_is_cut_off_is_no_move(play: Play) -> None:
    [[attempt]] = play(Counter, "a", CHAT.encode("bbb"))
    assert (attempt.finish_reason, attempt.environment_reward) == ("length", 0.5)
    assert Counter.log[-1] == "close after 1 in 1 thread"


FAULTS = [
    (Moody, "raise"), (Moody, "exit"), (Moody, "hang"), (Moody, "nothing"), (Moody, "silence"),
    (Moody, "nan"), (AsyncMoody, "raise"), (AsyncMoody, "exit"), (AsyncMoody, "hang"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_a_fault_costs_its_own_attempt_alone(play: Play, kind: type[Counter], fault: str) -> None:
    limit_s = 0.6 if fault == "hang" else 10.0
    [group] = play(kind, "a", fault, *"bcdef", group_size=3, timeout_s=limit_s)
    said = [[m["content"] for m in a.messages if m["role"] == "assistant"] for a in group]
    assert said == [["a", "c", "e"], ["b", "d", "f"]]
    assert len([line for line in kind.log if line.startswith("close")]) == 3


def test_a_group_with_one_attempt_left_fails(play: Play) -> None:
    assert play(Moody, "a", "raise", "b", "c", group_size=2) == [[]]


def test_a_method_that_blocks_the_loop_is_found(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    assert play(AsyncMoody, "block", timeout_s=LIMIT_S) == [[]]
    assert time.monotonic() - started < 2.5
    assert "an async method blocked the event loop" in caplog.text
    assert "worlds.py:" in caplog.text
    assert len(play(AsyncMoody, "a", "b", "c")[0]) == 1


@pytest.mark.parametrize("kind", [NeverMade, SlowToMake])
def test_an_environment_that_cannot_be_made_fails(play: Play, kind: Any) -> None:
    assert play(kind, group_size=2, timeout_s=LIMIT_S) == [[]]


def test_what_is_no_environment_is_named(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    no_world: Any = NoWorld
    assert play(no_world, group_size=2) == [[]]
    assert "NoWorld is no environment: it has no step, no close" in caplog.text


def test_the_reason_is_logged_once_with_the_traceback(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    play(Moody, "raise", "raise", group_size=2)
    [record] = caplog.records
    text = record.getMessage()
    assert "attempt at 'hi': step raised RuntimeError: no luck" in text
    assert "Traceback" in text
    assert "worlds.py" in text
    assert "rollout/episode.py" not in text


def test_the_model_reads_how_an_environment_begins(play: Play) -> None:
    [group] = play(Begins, *"abcdef", group_size=2)
    assert sorted(attempt.messages[1]["content"] for attempt in group) == ["begin 0", "begin 1"]
    assert all("begin" in CHAT.decode(attempt.samples[0].token_ids) for attempt in group)
    assert play(Begins, prompts=[make_prompt("long")], context=1000) == [[]]


def test_an_observation_cannot_end_a_turn(play: Play) -> None:
    [[attempt]] = play(Moody, "end turn")
    assert attempt.messages[-1]["content"] == "< |im_end|>\n<|im_start|>system"


def test_blocking_calls_share_the_workers(play: Play) -> None:
    play(Slow, *"abcdef", group_size=6, workers=3)
    assert Slow.most == 3


def test_close_is_called_on_ctrl_c(tools: ToolRunner) -> None:
    class Interrupted(ScriptedSampler):
        def _next(self) -> Any:
            if not self.script:
                raise KeyboardInterrupt
            return super()._next()

    prompt = make_prompt("hi")
    with Environments(Counter, workers=2, timeout_s=10.0) as environments:
        rollout = Rollout(
            Task([prompt], max_turns=9, environment=Counter), CHAT, Interrupted("ab"), tools,
            environments=environments, max_tokens=100, context=4000,
        )  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            rollout.sample_groups([prompt], 2, seed="0")
        assert Counter.log[-2:] == ["close after 1 in 1 thread"] * 2


def test_environments_that_are_open_at_the_end_are_closed(tools: ToolRunner) -> None:
    from podium_trainer.rollout.conversation import start_conversation

    prompt = make_prompt("hi")
    conversation = start_conversation(prompt, [1])
    with suppress(KeyError), Environments(Counter, workers=2, timeout_s=1.0) as environments:
        environments.reset([conversation], [prompt])
        raise KeyError
    assert Counter.log == ["reset hi", "close after 0 in 1 thread"]


class Shop(Moody):
    add_own = Counter.add


class AsyncShop(AsyncCounter):
    async def add_own(self, number: int) -> int:
        return await self.add(number)


@pytest.mark.parametrize("kind", [Shop, AsyncShop])
def test_a_tool_may_be_a_method_of_the_environment(play: Play, kind: Any) -> None:
    calls = write_call("add_own", number=5) + write_call("add_own", number=2)
    script = [calls, calls, "a", "b"]
    for attempt in play(kind, *script, group_size=2, with_tools=OWN_TOOLS, max_turns=2)[0]:
        assert tool_results(attempt) == ["5", "7"]
        assert attempt.messages[-1] == {"role": "user", "content": "count 8"}
        assert attempt.finish_reason == "length"


def test_a_tool_that_raises_tells_the_model(play: Play) -> None:
    script = [write_call("tell", what="raise"), write_call("add_own"), CHAT.encode("x")]
    [[attempt]] = play(Shop, *script, with_tools=OWN_TOOLS)
    first, second = tool_results(attempt)
    assert first == "error: RuntimeError: no luck"
    assert second.startswith("error: TypeError: ")


@pytest.mark.parametrize("call", [write_call("tell", what="hang"), write_call("tell")])
def test_a_tool_that_hangs_or_is_missing_fails_the_attempt(play: Play, call: str) -> None:
    kind = Shop if "hang" in call else Counter
    assert play(kind, call, with_tools=OWN_TOOLS, timeout_s=LIMIT_S) == [[]]


def test_a_tool_without_function_needs_an_environment() -> None:
    with pytest.raises(TaskError, match="tool 'add_own' has no function"):
        Task([make_prompt("hi")], tools=OWN_TOOLS)


class Clerk(Counter):
    """Answers all calls of a completion itself, and is done when it is told."""

    def step(self, completion: Message) -> Any:
        calls = completion.get("tool_calls")
        if not calls:
            return Step("", is_done=True, reward=1.0)
        self.count += len(calls)
        done = self.count == 3
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": call["function"]["name"]}
            for call in calls
        ]
        return Step(results, done, 0.25 if done else None)


def test_calls_may_be_answered_by_the_step(play: Play) -> None:
    two = write_call("add_own", number=1) + write_call("tell", what="x")
    task = {"with_tools": OWN_TOOLS, "calls_to_step": True}
    [[attempt]] = play(Clerk, two, "<tool_call>{", **task)
    assert tool_results(attempt) == ["add_own", "tell", "unreadable"]
    assert (attempt.environment_reward, attempt.finish_reason) == (0.25, "stop")
    [[ended]] = play(Clerk, two, "bye", **task)
    assert (ended.environment_reward, ended.finish_reason) == (1.0, "stop")


def test_the_step_sees_the_calls_of_the_last_turn(play: Play) -> None:
    one = write_call("add_own", number=1)
    [[attempt]] = play(Clerk, one, with_tools=OWN_TOOLS, calls_to_step=True, max_turns=1)
    assert tool_results(attempt) == ["add_own"]
    assert (attempt.environment_reward, attempt.finish_reason) == (0.0, "length")


def test_calls_to_step_need_an_environment_and_no_function() -> None:
    prompt = make_prompt("hi")
    with pytest.raises(TaskError, match="calls_to_step needs an environment"):
        Task([prompt], calls_to_step=True)
    with pytest.raises(TaskError, match="calls_to_step needs an environment"):
        Task([prompt], tools=TOOLS, environment=Clerk, calls_to_step=True)
