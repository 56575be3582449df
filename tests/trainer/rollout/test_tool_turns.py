"""Turns with tool calls: their results, their errors and the messages that the judge sees."""

import json

import pytest

from podium_trainer.tasks.task import Tool
from tests.trainer.rollout.conftest import Play, RunRollout
from tests.trainer.rollout.scripted_sampler import (
    CHAT,
    ScriptedSampler,
    tool_results,
    trained_ids,
    write_call,
)
from tests.trainer.rollout.worlds import Counter
from tests.trainer.tiny import CHATML, END, WITHOUT_TOOLS, tiny_chat
from tests.trainer.tools import TOOLS


def test_the_judge_reads_openai_messages_with_ids_that_match(run_rollout: RunRollout) -> None:
    text = "both:" + write_call("add", a=1, b=2) + write_call("echo", text="né")
    [[attempt]] = run_rollout(ScriptedSampler([text, "done"]))
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


def test_every_attempt_gets_the_results_of_its_own_calls(run_rollout: RunRollout) -> None:
    first_turns = [write_call("add", a=1, b=1), "no call"]
    first_turns += [write_call("add", a=2, b=2), write_call("fail")]
    sampler = ScriptedSampler([*first_turns, "2", "4", "bad"])
    [first, second] = run_rollout(sampler, "x", "y", group_size=2)
    results = [tool_results(attempt) for attempt in (*first, *second)]
    assert results == [["2"], [], ["4"], ["error: RuntimeError: no reason"]]
    assert [a.messages[-1]["content"] for a in (*first, *second)] == ["2", "no call", "4", "bad"]
    assert [len(requests) for requests in sampler.requests] == [2, 3]


@pytest.mark.parametrize(
    ("completion", "prefix"),
    [
        ("<tool_call>{oops</tool_call>", "error: the tool call is not JSON: "),
        ('<tool_call>{"name": 1}</tool_call>', 'error: a tool call is a JSON object with a "name"'),
        (write_call("prize"), "error: there is no tool 'prize'; there are: add, "),
        (write_call("fail", why="no pears"), "error: RuntimeError: no pears"),
        (write_call("die"), "error: die ended its process: "),
        (write_call("leave"), "error: SystemExit: bye"),
        (write_call("add", a=1), "error: TypeError: "),
    ],
    ids=["not JSON", "no name", "unknown", "raises", "dies", "exits", "wrong arguments"],
)
def test_a_failed_call_is_explained_and_the_attempt_continues(
    run_rollout: RunRollout, completion: str, prefix: str
) -> None:
    sampler = ScriptedSampler([completion, "sorry"])
    [[attempt]] = run_rollout(sampler)
    [result] = tool_results(attempt)
    assert result.startswith(prefix)
    assert attempt.messages[-1] == {"role": "assistant", "content": "sorry"}
    assert CHAT.decode(sampler.requests[1][0].prompt_ids).count(result) == 1
    [tool_call] = attempt.messages[1]["tool_calls"]
    assert attempt.messages[2]["tool_call_id"] == tool_call["id"]


def test_the_judge_sees_an_unreadable_call_as_it_was_written(run_rollout: RunRollout) -> None:
    [[attempt]] = run_rollout(ScriptedSampler(["I try <tool_call>{oops", "sorry"]))
    [tool_call] = attempt.messages[1]["tool_calls"]
    assert attempt.messages[1]["content"] == "I try"
    assert tool_call["function"]["name"] == "unreadable"
    assert json.loads(tool_call["function"]["arguments"]) == {"text": "I try <tool_call>{oops"}


def test_one_bad_call_among_good_ones_runs_none(run_rollout: RunRollout) -> None:
    [[attempt]] = run_rollout(
        ScriptedSampler([write_call("add", a=1, b=2) + "<tool_call>{", "sorry"])
    )
    [result] = tool_results(attempt)
    assert result.startswith("error: the tool call is not JSON")


@pytest.mark.parametrize("last", [write_call("add", a=1, b=2), "<tool_call>{"])
def test_an_attempt_ends_after_max_turns_even_with_a_call(
    run_rollout: RunRollout, last: str
) -> None:
    [[attempt]] = run_rollout(ScriptedSampler([write_call("add", a=0, b=1), last]), max_turns=2)
    assert attempt.num_turns == 2
    assert tool_results(attempt) == ["1"]
    ids = [call["id"] for m in attempt.messages for call in m.get("tool_calls", [])]
    assert ids == ["call_1_0", "call_2_0"]
    assert attempt.messages[-1]["role"] == "assistant"
    assert attempt.finish_reason == "length"  # it asked for a turn that there is not
    [sample] = attempt.samples
    assert sample.token_ids[-1] == END


def test_a_cut_off_completion_ends_the_attempt_even_with_a_call(run_rollout: RunRollout) -> None:
    cut_off = CHAT.encode(write_call("add", a=1, b=2))
    [[attempt]] = run_rollout(ScriptedSampler([cut_off]))
    assert (attempt.finish_reason, attempt.num_turns) == ("length", 1)
    assert tool_results(attempt) == []
    [sample] = attempt.samples
    assert trained_ids(sample) == cut_off


def test_text_like_a_call_stays_text_in_a_task_without_tools(run_rollout: RunRollout) -> None:
    [[attempt]] = run_rollout(ScriptedSampler(["<tool_call>{"]), with_tools=False)
    assert attempt.messages[-1] == {"role": "assistant", "content": "<tool_call>{"}


def test_tools_are_described_in_words_if_the_template_has_none(run_rollout: RunRollout) -> None:
    chat = tiny_chat(WITHOUT_TOOLS)
    sampler = ScriptedSampler([write_call("add", a=1, b=2), "3"], chat=chat)
    [[attempt]] = run_rollout(sampler)
    text = chat.decode(attempt.samples[0].token_ids)
    assert text.count("<tools>") == 1
    assert len(attempt.samples) == 1
    assert attempt.messages[0]["role"] == "user"  # the judge gets the tools in a field of their own


def test_llama_calls_are_run(run_rollout: RunRollout) -> None:
    chat = tiny_chat(CHATML, tool_format="llama3_json")
    sampler = ScriptedSampler(['{"name": "add", "parameters": {"a": 1, "b": 2}}', "3"], chat=chat)
    [[attempt]] = run_rollout(sampler)
    assert tool_results(attempt) == ["3"]


class Till(Counter):
    """Counts what tools say."""

    add_own = Counter.add


def test_tools_and_methods_of_an_environment_mix(play: Play) -> None:
    own = Tool("add_own", "A tool.", {"type": "object", "properties": {}})
    calls = write_call("add_own", number=5) + write_call("add", a=1, b=2)
    calls += write_call("add_own", number=2)
    [[attempt]] = play(Till, calls, "a", with_tools=(own, *TOOLS), max_turns=2)
    assert tool_results(attempt) == ["5", "3", "7"]
    assert attempt.messages[-1] == {"role": "user", "content": "count 8"}
