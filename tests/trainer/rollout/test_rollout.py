"""Rollouts with a scripted sampler: whose tokens are trained on, and how attempts end."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.samples import Attempt, Completion, Request, Sample
from podium_trainer.rollout.rollout import PromptTooLong, Rollout, seed_number
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import SamplerError
from podium_trainer.tasks.task import Prompt, Task
from tests.trainer.tiny import CHATML, END, STRIPS_THINKING, WITHOUT_TOOLS, tiny_chat
from tests.trainer.tools import TOOLS

CHAT = tiny_chat()


class ScriptedSampler:
    """Gives the script's completions, one after the other, and fails the test when it runs dry.

    Attributes:
        script: texts, or lists of token ids; a text and the stop token, a list as it is.
        asked: the requests of each call.
        seeds: one per call.
    """

    def __init__(
        self, script: Sequence[str | list[int]], *, in_lockstep: bool = True, chat: Chat = CHAT
    ) -> None:
        self.script = list(script)
        self.in_lockstep = in_lockstep
        self.chat = chat
        self.policy_version = 3
        self.asked: list[list[Request]] = []
        self.seeds: list[int] = []

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        self.asked.append(list(requests))
        self.seeds.append(seed)
        return [[self._next() for _ in range(r.num_completions)] for r in requests]

    def _next(self) -> Completion:
        if not self.script:
            pytest.fail("the sampler's script ran dry")
        said = self.script.pop(0)
        ids = [*self.chat.encode(said), END] if isinstance(said, str) else said
        logprobs = [-0.25 * (1 + i) for i in range(len(ids))]
        reason = "stop" if ids[-1] == END else "length"
        return Completion(ids, logprobs, reason, [self.policy_version] * len(ids))  # type: ignore[arg-type]

    def close(self) -> None:
        assert not self.script, f"never asked for: {self.script}"


@pytest.fixture(scope="module")
def tools() -> Iterator[ToolRunner]:
    with ToolRunner(TOOLS, timeout_s=5.0, num_processes=1) as opened:
        yield opened


Play = Callable[..., list[list[Attempt]]]


@pytest.fixture
def play(tools: ToolRunner) -> Play:
    """Play prompts with a script that must be used up."""

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
        prompts = [prompt(question) for question in questions or ["hi"]]
        task = Task(prompts, tools=TOOLS if with_tools else (), max_turns=max_turns)
        rollout = Rollout(
            task, sampler.chat, sampler, tools, max_tokens=max_tokens, context=context
        )
        groups = rollout.play(prompts, group_size, **({"seed": "0/1"} | more))
        sampler.close()
        for attempt in (attempt for group in groups for attempt in group):
            for sample in attempt.samples:
                assert_consistent(sample)
        return groups

    return run


def prompt(question: str) -> Prompt:
    return Prompt(question, [{"role": "user", "content": question}])


def assert_consistent(sample: Sample) -> None:
    """All streams are equally long, and only sampled tokens carry anything."""
    for stream in (sample.loss_mask, sample.behavior_logprobs, sample.policy_versions):
        assert len(stream) == len(sample.token_ids)
    for trained, logprob, version in zip(
        sample.loss_mask, sample.behavior_logprobs, sample.policy_versions, strict=True
    ):
        assert (logprob, version) == (0.0, -1) if not trained else version == 3
    assert not any(sample.advantages)


def trained_ids(sample: Sample) -> list[int]:
    return [id for id, trained in zip(sample.token_ids, sample.loss_mask, strict=True) if trained]


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def results(attempt: Attempt) -> list[str]:
    return [message["content"] for message in attempt.messages if message["role"] == "tool"]


def test_a_single_turn_is_the_prompts_tokens_and_the_sampled_ones(play: Play) -> None:
    sampler = ScriptedSampler(["ok", "abc", "4", "5"])
    groups = play(sampler, "hi", "2 + 2 =", group_size=2, with_tools=False, max_turns=1)
    assert [[a.messages[-1]["content"] for a in group] for group in groups] == [
        ["ok", "abc"],
        ["4", "5"],
    ]
    attempt = groups[0][1]
    [sample] = attempt.samples
    prompt_ids = CHAT.encode(CHAT.render([{"role": "user", "content": "hi"}], None))
    said = [*CHAT.encode("abc"), END]
    assert sample.token_ids == [*prompt_ids, *said]
    assert trained_ids(sample) == said
    assert sample.behavior_logprobs[len(prompt_ids) :] == [-0.25, -0.5]
    assert (attempt.num_turns, attempt.finish_reason) == (1, "stop")
    assert attempt.messages == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "abc"},
    ]
    other = CHAT.encode(CHAT.render([{"role": "user", "content": "2 + 2 ="}], None))
    assert sampler.asked == [[Request(prompt_ids, 2, 100), Request(other, 2, 100)]]


def test_sampled_tokens_are_kept_though_their_text_would_be_tokenized_otherwise(
    play: Play,
) -> None:
    letters = CHAT.tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    assert CHAT.encode("abc") not in (letters, None)
    first = [*letters, *CHAT.encode(call("add", a=1, b=2)), END]
    sampler = ScriptedSampler([first, "3"])
    [[attempt]] = play(sampler)
    [sample] = attempt.samples
    start = len(sampler.asked[0][0].prompt_ids)
    assert sample.token_ids[start : start + len(first)] == first
    assert trained_ids(sample) == [*first, *CHAT.encode("3"), END]
    # The second turn was sampled after the very tokens of the first.
    assert list(sampler.asked[1][0].prompt_ids) == sample.token_ids[: -len(CHAT.encode("3")) - 1]
    # What was appended, with all before it, reads as the template renders the conversation.
    raw = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "abc" + call("add", a=1, b=2)},
        {"role": "tool", "content": "3"},
    ]
    definitions = [tool.definition() for tool in TOOLS]
    assert CHAT.decode(sampler.asked[1][0].prompt_ids) == CHAT.render(raw, definitions)
    assert sampler.asked[1][0].num_completions == 1


def test_the_judge_reads_openai_messages_with_ids_that_match(play: Play) -> None:
    text = "both:" + call("add", a=1, b=2) + call("echo", text="né")
    [[attempt]] = play(ScriptedSampler([text, "done"]))
    assert attempt.messages == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "both:",
            "tool_calls": [
                {"id": "call_1_0", "type": "function",
                 "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
                {"id": "call_1_1", "type": "function",
                 "function": {"name": "echo", "arguments": '{"text": "né"}'}},
            ],
        },
        {"role": "tool", "content": "3", "tool_call_id": "call_1_0"},
        {"role": "tool", "content": "né", "tool_call_id": "call_1_1"},
        {"role": "assistant", "content": "done"},
    ]  # fmt: skip
    assert (attempt.num_turns, attempt.finish_reason) == (2, "stop")


def test_every_attempt_gets_the_results_of_its_own_calls(play: Play) -> None:
    sampler = ScriptedSampler(
        [call("add", a=1, b=1), "no call", call("add", a=2, b=2), call("fail"), "2", "4", "bad"]
    )
    [first, second] = play(sampler, "x", "y", group_size=2)
    found = [results(attempt) for attempt in (*first, *second)]
    assert found == [["2"], [], ["4"], ["error: RuntimeError: no reason"]]
    assert [a.messages[-1]["content"] for a in (*first, *second)] == ["2", "no call", "4", "bad"]
    assert [len(requests) for requests in sampler.asked] == [2, 3]


def test_a_template_that_strips_thinking_starts_a_new_sample_and_is_counted(play: Play) -> None:
    chat = tiny_chat(STRIPS_THINKING)
    thought = "<think>hm</think>" + call("add", a=1, b=2)
    sampler = ScriptedSampler([thought, "3"], chat=chat)
    [[attempt]] = play(sampler)
    first, second = attempt.samples
    assert trained_ids(first) == [*chat.encode(thought), END]
    assert first.token_ids[-1] == END
    assert trained_ids(second) == [*chat.encode("3"), END]
    assert "hm" not in chat.decode(second.token_ids)
    assert call("add", a=1, b=2) in chat.decode(second.token_ids)
    assert attempt.num_turns == 2
    assert attempt.messages[1]["content"] == "<think>hm</think>"  # the judge reads what was said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("<tool_call>{oops</tool_call>", "error: the tool call is not JSON: "),
        ('<tool_call>{"name": 1}</tool_call>', 'error: a tool call is a JSON object with a "name"'),
        (call("prize"), "error: there is no tool 'prize'; there are: add, "),
        (call("fail", why="no pears"), "error: RuntimeError: no pears"),
        (call("die"), "error: die ended its process: "),
        (call("leave"), "error: SystemExit: bye"),
        (call("add", a=1), "error: TypeError: "),
    ],
    ids=["not JSON", "no name", "unknown", "raises", "dies", "exits", "wrong arguments"],
)
def test_whatever_goes_wrong_with_a_call_is_told_and_the_attempt_goes_on(
    play: Play, said: str, told: str
) -> None:
    sampler = ScriptedSampler([said, "sorry"])
    [[attempt]] = play(sampler)
    [result] = results(attempt)
    assert result.startswith(told)
    assert attempt.messages[-1] == {"role": "assistant", "content": "sorry"}
    assert CHAT.decode(sampler.asked[1][0].prompt_ids).count(result) == 1
    [asked] = attempt.messages[1]["tool_calls"]
    assert attempt.messages[2]["tool_call_id"] == asked["id"]


def test_the_judge_reads_a_call_that_could_not_be_read_as_it_was_written(play: Play) -> None:
    [[attempt]] = play(ScriptedSampler(["I try <tool_call>{oops", "sorry"]))
    [asked] = attempt.messages[1]["tool_calls"]
    assert attempt.messages[1]["content"] == "I try"
    assert asked["function"]["name"] == "unreadable"
    assert json.loads(asked["function"]["arguments"]) == {"text": "I try <tool_call>{oops"}


def test_one_bad_call_among_good_ones_runs_none(play: Play) -> None:
    [[attempt]] = play(ScriptedSampler([call("add", a=1, b=2) + "<tool_call>{", "sorry"]))
    [result] = results(attempt)
    assert result.startswith("error: the tool call is not JSON")


@pytest.mark.parametrize("last", [call("add", a=1, b=2), "<tool_call>{"])
def test_an_attempt_ends_after_max_turns_whatever_it_asks_for(play: Play, last: str) -> None:
    [[attempt]] = play(ScriptedSampler([call("add", a=0, b=1), last]), max_turns=2)
    assert attempt.num_turns == 2
    assert results(attempt) == ["1"]
    ids = [call["id"] for m in attempt.messages for call in m.get("tool_calls", [])]
    assert ids == ["call_1_0", "call_2_0"]
    assert attempt.messages[-1]["role"] == "assistant"
    assert attempt.finish_reason == "stop"
    [sample] = attempt.samples
    assert sample.token_ids[-1] == END


def test_a_truncated_completion_ends_the_attempt_even_with_a_whole_call(play: Play) -> None:
    cut = CHAT.encode(call("add", a=1, b=2))
    [[attempt]] = play(ScriptedSampler([cut]))
    assert (attempt.finish_reason, attempt.num_turns) == ("length", 1)
    assert results(attempt) == []
    [sample] = attempt.samples
    assert trained_ids(sample) == cut


def test_text_that_looks_like_a_call_is_text_where_there_are_no_tools(play: Play) -> None:
    [[attempt]] = play(ScriptedSampler(["<tool_call>{"]), with_tools=False)
    assert attempt.messages[-1] == {"role": "assistant", "content": "<tool_call>{"}


def test_a_prompt_that_leaves_no_room_is_refused_with_its_numbers(play: Play) -> None:
    size = len(CHAT.encode(CHAT.render([{"role": "user", "content": "hi"}], None)))
    fits = {"max_tokens": 10, "context": size + 10, "with_tools": False}
    play(ScriptedSampler(["ok"]), **fits)
    with pytest.raises(PromptTooLong) as caught:
        play(ScriptedSampler([]), **(fits | {"context": size + 9}))
    assert str(caught.value) == (
        f"prompt 'hi' has {size} tokens, which with sampler.max_tokens 10 exceeds the context of"
        f" {size + 9}: shorten it or lower sampler.max_tokens"
    )


def test_an_attempt_whose_context_runs_out_ends_with_its_last_sampled_token(play: Play) -> None:
    sampler = ScriptedSampler([call("long_text")])
    definitions = [tool.definition() for tool in TOOLS]
    size = len(CHAT.encode(CHAT.render([{"role": "user", "content": "hi"}], definitions)))
    [[attempt]] = play(sampler, context=size + 300)
    assert attempt.num_turns == 1
    assert len(results(attempt)) == 1
    [sample] = attempt.samples
    assert sample.token_ids[-1] == END
    assert len(sample.token_ids) <= size + 300


def test_a_rewritten_history_without_room_starts_no_sample(play: Play) -> None:
    chat = tiny_chat(STRIPS_THINKING)
    sampler = ScriptedSampler(["<think>hm</think>" + call("long_text")], chat=chat)
    [[attempt]] = play(sampler, context=4000)
    assert len(attempt.samples) == 1


def test_tools_are_told_in_words_where_the_template_has_no_place_for_them(play: Play) -> None:
    chat = tiny_chat(WITHOUT_TOOLS)
    sampler = ScriptedSampler([call("add", a=1, b=2), "3"], chat=chat)
    [[attempt]] = play(sampler)
    text = chat.decode(attempt.samples[0].token_ids)
    assert text.count("<tools>") == 1
    assert len(attempt.samples) == 1
    assert attempt.messages[0]["role"] == "user"  # the judge gets the tools on their own


def test_llama_calls_are_understood(play: Play) -> None:
    chat = tiny_chat(CHATML, tool_format="llama3_json")
    sampler = ScriptedSampler(['{"name": "add", "parameters": {"a": 1, "b": 2}}', "3"], chat=chat)
    [[attempt]] = play(sampler)
    assert results(attempt) == ["3"]


def test_a_sampler_for_threads_gets_each_prompt_on_its_own(play: Play) -> None:
    sampler = ScriptedSampler(["ok"] * 12, in_lockstep=False)
    progress: list[tuple[int, int]] = []
    questions = [f"q{i}" for i in range(6)]
    groups = play(sampler, *questions, group_size=2, on_progress=lambda *at: progress.append(at))
    assert [group[0].messages[0]["content"] for group in groups] == questions
    assert [len(requests) for requests in sampler.asked] == [1] * 6
    assert sorted(progress) == [(i + 1, 6) for i in range(6)]
    assert len(set(sampler.seeds)) == 6


def test_progress_in_lockstep_comes_once_at_the_end(play: Play) -> None:
    progress: list[tuple[int, int]] = []
    play(ScriptedSampler(["ok"] * 2), "a", "b", on_progress=lambda *at: progress.append(at))
    assert progress == [(2, 2)]


def test_each_turn_is_drawn_with_a_seed_of_its_own_that_is_the_same_next_time(play: Play) -> None:
    script = [call("add", a=1, b=1), call("add", a=1, b=1), "2"]
    first, again, other = (ScriptedSampler(script) for _ in range(3))
    play(first, seed="0/1")
    play(again, seed="0/1")
    play(other, seed="0/2")
    assert first.seeds == again.seeds
    assert len({*first.seeds, *other.seeds}) == 6
    assert seed_number("0/1/0") == 2386458517


@pytest.mark.parametrize("in_lockstep", [True, False])
def test_a_sampler_that_fails_for_good_ends_the_rollout(play: Play, in_lockstep: bool) -> None:
    class Broken(ScriptedSampler):
        def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
            raise SamplerError("no server")

    with pytest.raises(SamplerError, match="no server"):
        play(Broken([], in_lockstep=in_lockstep), "a", "b")


@pytest.mark.parametrize("in_lockstep", [True, False])
def test_no_prompts_are_no_groups(tools: ToolRunner, in_lockstep: bool) -> None:
    sampler = ScriptedSampler([], in_lockstep=in_lockstep)
    rollout = Rollout(Task([prompt("hi")]), CHAT, sampler, tools, max_tokens=1, context=99)
    assert rollout.play([], 2, seed="0") == []
