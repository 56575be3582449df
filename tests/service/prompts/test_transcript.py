"""Transcripts are legible; equal trajectories and shared messages are rendered once."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.prompts.defences.escape import DATAMARK
from podium_service.prompts.transcript import transcribe
from tests.service.prompts.conversations import (
    assistant,
    group_request,
    prompt_text,
    tool_call,
    tool_result,
    transcribe_all,
    user,
)


def test_tool_calls_and_results_read_like_code() -> None:
    transcript = transcribe_all(
        group_request(
            [
                user("Book it."),
                tool_call("book", '{"seat": "4A", "bags": [1, 2]}', text="I book."),
                tool_result("done"),
            ],
            [user("Book it."), assistant("no")],
        )
    )
    (used_tool,) = (body for body in transcript.bodies if "book" in body)
    assert used_tool == (
        '<message role="assistant">\n'
        "I book.\n"
        '<tool_call>book(seat="4A", bags=[1,2])</tool_call>\n'
        "</message>\n"
        '<tool_result name="book">\n'
        "done\n"
        "</tool_result>"
    )


@pytest.mark.parametrize("arguments", ["", "seat 4A", "7", '{"seat": "4', '{"a": "\\ud800"}'])
def test_arguments_that_are_no_json_object_are_shown_raw(arguments: str) -> None:
    transcript = transcribe_all(
        group_request([user("q"), tool_call("book", arguments)], [user("q"), assistant("no")])
    )
    assert any(f"<tool_call>book({arguments})</tool_call>" in body for body in transcript.bodies)


def test_deeply_nested_arguments_are_shown() -> None:
    arguments = '{"a": ' + "[" * 300 + "]" * 300 + "}"
    transcript = transcribe_all(
        group_request([user("q"), tool_call("book", arguments)], [user("q"), assistant("no")])
    )
    assert any("book(" in body for body in transcript.bodies)


def test_a_tool_result_names_its_call_though_ids_are_reused() -> None:
    transcript = transcribe_all(
        group_request(
            [
                user("q"),
                tool_call("search", "", "c"),
                tool_result("hits", "c"),
                tool_call("book", "", "c"),
                tool_result("done", "c"),
            ],
            [user("q"), assistant("no")],
        )
    )
    (used_tools,) = (body for body in transcript.bodies if "hits" in body)
    assert '<tool_result name="search">\nhits\n' in used_tools
    assert '<tool_result name="book">\ndone\n' in used_tools


def test_swapped_results_of_parallel_calls_are_not_equal() -> None:
    both = tool_call("look_up", '{"k": 1}', "x")
    both["tool_calls"].append(tool_call("look_up", '{"k": 2}', "y")["tool_calls"][0])
    transcript = transcribe_all(
        group_request(
            [user("q"), both, tool_result("A", "x"), tool_result("B", "y")],
            [user("q"), both, tool_result("A", "y"), tool_result("B", "x")],
        )
    )
    assert transcript.members != [[0, 1]]  # k=1 gave A in one, B in the other


def test_only_a_finish_reason_that_says_something_is_shown() -> None:
    reasons = ["stop", "length", None, "content_filter"]
    request = group_request(*([user("q"), assistant(letter)] for letter in "abcd"))
    for trajectory, reason in zip(request.trajectories, reasons, strict=True):
        trajectory.finish_reason = reason
    ends = {body.split("\n")[1]: body.split("\n")[-1] for body in transcribe_all(request).bodies}
    assert ends == {
        "a": "</message>",
        "b": "<finish_reason>length (the last message was cut off at the token limit)"
        "</finish_reason>",
        "c": "</message>",
        "d": "<finish_reason>content_filter (the last message was stopped by a filter)"
        "</finish_reason>",
    }


def test_shared_messages_are_shown_once_and_first() -> None:
    start = [user("Go."), assistant("First I look."), user("And?")]
    transcript = transcribe_all(
        group_request([*start, assistant("left")], [*start, assistant("right")])
    )
    text = prompt_text(transcript)
    assert text.count("First I look.") == 1
    assert transcript.context.startswith('<shared_messages>\n<message role="user">\nGo.\n')
    assert all("look" not in body for body in transcript.bodies)
    assert text.index("And?") < text.index("left")


def test_a_message_that_only_some_share_stays_in_each_body() -> None:
    transcript = transcribe_all(
        group_request(
            [user("q"), assistant("same")],
            [user("q"), assistant("same")],
            [user("q"), assistant("other")],
        )
    )
    assert len(transcript.bodies) == 2
    assert "same" not in transcript.context
    one_differs_first = transcribe_all(
        group_request([user("p"), assistant("same")], [user("q"), assistant("same")])
    )
    assert one_differs_first.context == ""


def test_task_reference_and_tools_are_shown_once() -> None:
    tool = {"type": "function", "function": {"name": "book", "parameters": {}}}
    request = group_request(
        [user("q"), assistant("a")],
        [user("q"), assistant("b")],
        task="T",
        reference="R",
        tools=[tool],
    )
    assert transcribe_all(request).context == (
        "<task>\nT\n</task>\n\n"
        "<reference>\nR\n</reference>\n\n"
        '<tools>\n{"name":"book","parameters":{}}\n</tools>\n\n'
        '<shared_messages>\n<message role="user">\nq\n</message>\n</shared_messages>'
    )


def test_identical_trajectories_are_shown_once() -> None:
    transcript = transcribe_all(
        group_request(
            [user("q"), assistant("a")], [user("q"), assistant("b")], [user("q"), assistant("a")]
        )
    )
    assert sorted(transcript.members) == [[0, 2], [1]]
    assert len(transcript.bodies) == len(set(transcript.digests)) == 2


def test_parts_that_no_judge_sees_make_no_difference() -> None:
    plain = [
        user("q"),
        tool_call("book", '{"seat": 1}', "c1", text=""),
        tool_result("done", "c1"),
        assistant("ok"),
    ]
    decorated: list[dict[str, Any]] = [
        {**user("q"), "name": "bob", "cache_control": {"type": "ephemeral"}},
        {
            **tool_call("book", '{ "seat":1 }', "other"),
            "reasoning_content": "hm",
            "logprobs": [0.1],
        },
        {**tool_result("done", "other"), "name": "book"},
        assistant([{"type": "text", "text": "o"}, {"type": "text", "text": "k"}]),
    ]
    decorated[1]["tool_calls"][0]["index"] = 0
    request = group_request(plain, decorated)
    request.trajectories[1].verified_reward = 0.25
    transcript = transcribe_all(request)
    assert transcript.members == [[0, 1]]
    assert "bob" not in prompt_text(transcript)
    assert "0.25" not in prompt_text(transcript)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([user("q"), assistant("a")], [user("q"), assistant("a ")]),
        ([user("q"), assistant("a")], [user("q"), user("a")]),
        ([user("q"), tool_call("f", "{}")], [user("q"), tool_call("g", "{}")]),
        ([user("q"), tool_call("f", '{"x": 1}')], [user("q"), tool_call("f", '{"x": "1"}')]),
        ([user("q"), assistant("a"), assistant("b")], [user("q"), assistant("a\n</message>\nb")]),
    ],
)
def test_parts_that_a_judge_sees_make_a_difference(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    assert len(transcribe_all(group_request(one, other)).bodies) == 2


def test_a_different_finish_reason_makes_a_difference() -> None:
    request = group_request([user("q"), assistant("a")], [user("q"), assistant("a")])
    request.trajectories[0].finish_reason = "length"
    assert len(transcribe_all(request).bodies) == 2


def test_only_the_chosen_trajectories_are_shown() -> None:
    request = group_request(
        [user("q"), assistant("gated")], [user("q"), assistant("b")], [user("q"), assistant("c")]
    )
    transcript = transcribe(request, [1, 2])
    assert sorted(transcript.members) == [[1], [2]]
    assert "gated" not in prompt_text(transcript)
    assert transcribe(request, []).bodies == []


ANSWERS = st.lists(st.sampled_from(["a", "b", "c", "<message>", "a\n"]), min_size=2, max_size=6)


@given(
    ANSWERS.flatmap(
        lambda answers: st.tuples(st.just(answers), st.permutations(range(len(answers))))
    )
)
def test_permuting_trajectories_only_permutes_the_members(
    case: tuple[list[str], list[int]],
) -> None:
    answers, permutation = case
    request = group_request(*([user("q"), assistant(answer)] for answer in answers), task="T")
    before = transcribe_all(request)
    permuted = [request.trajectories[index] for index in permutation]
    after = transcribe_all(request.model_copy(update={"trajectories": permuted}))
    assert (after.context, after.bodies, after.digests) == (
        before.context, before.bodies, before.digests,
    )  # fmt: skip
    assert [sorted(permutation[i] for i in indices) for indices in after.members] == before.members


def test_our_texts_and_the_callers_have_no_datamarks() -> None:
    request = group_request(
        [user("go on"), tool_call("f", '{"k": "a b"}'), tool_result("c d")],
        [user("go on"), assistant("e  f\ng")],
        task="the task", reference="the reference",
        tools=[{"function": {"name": "f", "about": "x y"}}],
    )  # fmt: skip
    request.trajectories[0].finish_reason = "length"
    transcript = transcribe(request, [0, 1], datamark=True)
    text = "\n".join([transcript.context, *transcript.bodies])
    for unmarked in ("the task", "the reference", "x y", "length (the last message"):
        assert unmarked in text
    for material in ("go^ on", 'k="a^ b"', "c^ d", "e^  f^\ng"):
        assert material.replace("^", DATAMARK) in text
    assert not re.search(rf"<[^>\n]*{DATAMARK}", text)
