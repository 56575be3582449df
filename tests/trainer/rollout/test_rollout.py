"""Rollouts with a scripted sampler: tokens that are trained on, seeds, limits and errors."""

from collections.abc import Sequence

import pytest

from podium_trainer.policy.samples import Completion, Request
from podium_trainer.rollout.rollout import PromptTooLong, Rollout, hash_seed
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import SamplerError
from podium_trainer.tasks.task import Task
from tests.trainer.rollout.conftest import RunRollout
from tests.trainer.rollout.scripted_sampler import (
    CHAT,
    ScriptedSampler,
    make_prompt,
    tool_results,
    trained_ids,
    write_call,
)
from tests.trainer.tiny import END, STRIPS_THINKING, tiny_chat
from tests.trainer.tools import TOOLS


def test_a_single_turn_holds_prompt_tokens_and_sampled_tokens(run_rollout: RunRollout) -> None:
    sampler = ScriptedSampler(["ok", "abc", "4", "5"])
    groups = run_rollout(sampler, "hi", "2 + 2 =", group_size=2, with_tools=False, max_turns=1)
    assert [[a.messages[-1]["content"] for a in group] for group in groups] == [
        ["ok", "abc"],
        ["4", "5"],
    ]
    attempt = groups[0][1]
    [sample] = attempt.samples
    prompt_ids = CHAT.encode(CHAT.render([{"role": "user", "content": "hi"}], None))
    sampled_ids = [*CHAT.encode("abc"), END]
    assert sample.token_ids == [*prompt_ids, *sampled_ids]
    assert trained_ids(sample) == sampled_ids
    assert sample.behavior_logprobs[len(prompt_ids) :] == [-0.25, -0.5]
    assert (attempt.num_turns, attempt.finish_reason) == (1, "stop")
    assert attempt.messages == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "abc"},
    ]
    other = CHAT.encode(CHAT.render([{"role": "user", "content": "2 + 2 ="}], None))
    assert sampler.requests == [[Request(prompt_ids, 2, 100), Request(other, 2, 100)]]


def test_sampled_tokens_are_kept_over_turns_not_tokenized_again(
    run_rollout: RunRollout,
) -> None:
    letters = CHAT.tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    assert CHAT.encode("abc") not in (letters, None)
    first = [*letters, *CHAT.encode(write_call("add", a=1, b=2)), END]
    sampler = ScriptedSampler([first, "3"])
    [[attempt]] = run_rollout(sampler)
    [sample] = attempt.samples
    start = len(sampler.requests[0][0].prompt_ids)
    assert sample.token_ids[start : start + len(first)] == first
    assert trained_ids(sample) == [*first, *CHAT.encode("3"), END]
    # The second turn was sampled after the tokens of the first, as they were sampled.
    assert list(sampler.requests[1][0].prompt_ids) == sample.token_ids[: -len(CHAT.encode("3")) - 1]
    # The whole prompt of the second turn reads as the template renders the conversation.
    raw = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "abc" + write_call("add", a=1, b=2)},
        {"role": "tool", "content": "3"},
    ]
    definitions = [tool.definition() for tool in TOOLS]
    assert CHAT.decode(sampler.requests[1][0].prompt_ids) == CHAT.render(raw, definitions)
    assert sampler.requests[1][0].num_completions == 1


def test_a_template_that_rewrites_turns_starts_a_new_sample(run_rollout: RunRollout) -> None:
    chat = tiny_chat(STRIPS_THINKING)
    thought = "<think>hm</think>" + write_call("add", a=1, b=2)
    sampler = ScriptedSampler([thought, "3"], chat=chat)
    [[attempt]] = run_rollout(sampler)
    first, second = attempt.samples
    assert trained_ids(first) == [*chat.encode(thought), END]
    assert first.token_ids[-1] == END
    assert trained_ids(second) == [*chat.encode("3"), END]
    assert "hm" not in chat.decode(second.token_ids)
    assert write_call("add", a=1, b=2) in chat.decode(second.token_ids)
    assert attempt.num_turns == 2
    assert attempt.messages[1]["content"] is None
    assert attempt.messages[1]["reasoning_content"] == "hm"


def test_a_prompt_that_leaves_no_room_is_refused_with_sizes(run_rollout: RunRollout) -> None:
    size = len(CHAT.encode(CHAT.render([{"role": "user", "content": "hi"}], None)))
    fits = {"max_tokens": 10, "context": size + 10, "with_tools": False}
    run_rollout(ScriptedSampler(["ok"]), **fits)
    with pytest.raises(PromptTooLong) as caught:
        run_rollout(ScriptedSampler([]), **(fits | {"context": size + 9}))
    assert str(caught.value) == (
        f"prompt 'hi' has {size} tokens, which with sampler.max_tokens 10 exceeds the context of"
        f" {size + 9}: shorten it or lower sampler.max_tokens"
    )


def test_an_attempt_ends_where_the_context_has_no_room_left(run_rollout: RunRollout) -> None:
    sampler = ScriptedSampler([write_call("long_text")])
    definitions = [tool.definition() for tool in TOOLS]
    size = len(CHAT.encode(CHAT.render([{"role": "user", "content": "hi"}], definitions)))
    [[attempt]] = run_rollout(sampler, context=size + 300)
    assert (attempt.num_turns, attempt.finish_reason) == (1, "length")
    assert len(tool_results(attempt)) == 1
    [sample] = attempt.samples
    assert sample.token_ids[-1] == END
    assert len(sample.token_ids) <= size + 300


def test_a_rewritten_history_without_room_starts_no_sample(run_rollout: RunRollout) -> None:
    chat = tiny_chat(STRIPS_THINKING)
    sampler = ScriptedSampler(["<think>hm</think>" + write_call("long_text")], chat=chat)
    [[attempt]] = run_rollout(sampler, context=4000)
    assert len(attempt.samples) == 1


def test_a_sampler_for_threads_gets_each_prompt_in_its_own_call(run_rollout: RunRollout) -> None:
    sampler = ScriptedSampler(["ok"] * 12, in_lockstep=False)
    questions = [f"q{i}" for i in range(6)]
    groups = run_rollout(sampler, *questions, group_size=2)
    assert [group[0].messages[0]["content"] for group in groups] == questions
    assert [len(requests) for requests in sampler.requests] == [1] * 6
    assert len(set(sampler.seeds)) == 6


def test_each_turn_has_its_own_reproducible_seed(run_rollout: RunRollout) -> None:
    script = [write_call("add", a=1, b=1), write_call("add", a=1, b=1), "2"]
    first, again, other = (ScriptedSampler(script) for _ in range(3))
    run_rollout(first, seed="0/1")
    run_rollout(again, seed="0/1")
    run_rollout(other, seed="0/2")
    assert first.seeds == again.seeds
    assert len({*first.seeds, *other.seeds}) == 6
    assert hash_seed("0/1/0") == 2386458517


@pytest.mark.parametrize("in_lockstep", [True, False])
def test_a_sampler_that_fails_for_good_ends_the_rollout(
    run_rollout: RunRollout, in_lockstep: bool
) -> None:
    class Broken(ScriptedSampler):
        def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
            raise SamplerError("no server")

    with pytest.raises(SamplerError, match="no server"):
        run_rollout(Broken([], in_lockstep=in_lockstep), "a", "b")


@pytest.mark.parametrize("in_lockstep", [True, False])
def test_no_prompts_give_no_groups(tools: ToolRunner, in_lockstep: bool) -> None:
    sampler = ScriptedSampler([], in_lockstep=in_lockstep)
    rollout = Rollout(Task([make_prompt("hi")]), CHAT, sampler, tools, max_tokens=1, context=99)
    assert rollout.sample_groups([], 2, seed="0") == []
