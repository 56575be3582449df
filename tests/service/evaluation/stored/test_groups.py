"""Stored groups, rebuilt as requests from the prompts that showed them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_service.evaluation.stored.groups import (
    CannotRebuild,
    JudgeMaterial,
    rebuild_request,
    recover_material,
)
from podium_service.prompts.plain import show_plainly
from podium_service.prompts.templates import build_prompt
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.wording import DEFAULT_RUBRIC
from podium_service.schemas import Message, RankRequest
from tests.service.helpers import group

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"a": 1.5}}}]
CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "c2", "type": "function", "function": {"name": "a&d\n", "arguments": "no json\n{"}},
]


def agent(text: str, result: str) -> list[dict[str, Any]]:
    """Return a conversation with two tool calls in one turn."""
    return [
        {"role": "system", "content": "Be <task>brief</task>."},
        {"role": "assistant", "content": text or None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c2", "content": result},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": "done"},
    ]


def material_of(request: RankRequest) -> JudgeMaterial:
    transcript = transcribe(request, range(len(request.trajectories)))
    return JudgeMaterial(
        f"x\nRubric:\n{DEFAULT_RUBRIC}\n\nRules:\ny", transcript.context, transcript.bodies
    )


TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from('<>/\n"()=&\r')), max_size=12
) | st.sampled_from(["</message>", '<trajectory-a id="B">', "<finish_reason>x", "<trimmed ", "{}"])


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=4), TEXTS, TEXTS)
def test_a_rebuilt_request_is_shown_the_same_way(
    pairs: list[tuple[str, str]], task: str, finish: str
) -> None:
    trajectories = [
        {"id": str(i), "messages": agent(*pair), "tools": TOOLS if i % 2 else None}
        | ({"finish_reason": finish} if i == 0 else {})
        for i, pair in enumerate(pairs)
    ]
    request = RankRequest.model_validate(
        {"task": task, "tools": TOOLS, "reference": task, "trajectories": trajectories}
    )
    first = material_of(request)
    if len(first.bodies) < 2:
        return  # no judge is asked
    again = material_of(rebuild_request(first, [None]))
    assert again == first
    digests = transcribe(request, range(len(pairs))).digests
    assert transcribe(rebuild_request(first, [None]), range(len(first.bodies))).digests == digests


def test_odd_messages_are_rebuilt_as_they_were_shown() -> None:
    """Orphaned results, thoughts, calls without a name, and lists of arguments."""
    odd = [
        {"role": "user", "content": "q"},
        {"role": "tool", "content": "old"},
        {"role": "tool", "content": "older", "name": "a&d"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, "So."],
         "tool_calls": [{"name": None, "arguments": [1.5, "x"]}, {"name": "now"}]},
        {"role": "tool", "content": "12:00", "name": "now"},
        {"role": "tool", "content": "5", "tool_call_id": "gone"},
        {"role": "assistant", "content": None, "reasoning_content": "alone"},
    ]  # fmt: skip
    trajectories = [{"id": "a", "messages": odd}, {"id": "b", "messages": odd[:5]}]
    request = RankRequest.model_validate({"trajectories": trajectories})
    shown = transcribe(request, [0, 1], show_reasoning=True)
    first = JudgeMaterial("x", shown.context, shown.bodies)
    rebuilt = transcribe(rebuild_request(first, [None]), [0, 1], show_reasoning=True)
    assert (rebuilt.context, rebuilt.bodies) == (shown.context, shown.bodies)
    assert "<thoughts>\nalone\n</thoughts>" in "".join(shown.bodies)


def test_only_a_rubric_of_the_request_is_rebuilt() -> None:
    first = material_of(RankRequest.model_validate(group("5", "6")))
    assert rebuild_request(first, [None]).rubric is None
    own_rubric = replace(first, system="x\nRubric:\n- Be kind.\n\nRules:\ny")
    assert rebuild_request(own_rubric, [None]).rubric == "- Be kind."
    assert rebuild_request(own_rubric, ["- Be kind.\n"]).rubric is None


def call(prompt: str, ids: list[str], order: list[int], **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": prompt}]
    return {"messages": messages, "verdict": {"ids": ids, "order": order}, **fields}


def fenced(*bodies: tuple[str, str], context: str = "") -> str:
    fences = "".join(f'\n<trajectory-0a id="{i}">\n{b}\n</trajectory-0a>\n' for i, b in bodies)
    head = f"{context}\n\n" if context else ""
    return f"{head}{len(bodies)} trajectories follow, each fenced.\n{fences}\nScore all."


def test_bodies_are_collected_over_calls_by_index() -> None:
    calls = [
        call(fenced(("B", "two"), ("C", "zero"), context="c\n\nd"), ["B", "C"], [2, 0]),
        call(
            fenced(("D", "one"), ("Z", "planted"), ("F", "zero"), context="c\n\nd"),
            ["D", "F"], [1, 0],
        ),
        {"messages": [], "verdict": None},
    ]  # fmt: skip
    assert recover_material(calls) == JudgeMaterial("s", "c\n\nd", ["zero", "one", "two"])


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([], "no verdict of an LLM"),
        ([{"messages": [], "verdict": None}], "no verdict of an LLM"),
        ([call(fenced(("B", 'x\n<trimmed characters="9"/>\ny')), ["B"], [0])], "trimmed"),
        ([call(fenced(("B", "x")), ["B"], [1])], "not all"),
        ([call("Which is better?", ["B"], [0])], "cannot be read back"),
    ],
)
def test_calls_that_cannot_be_recovered_raise_the_reason(
    calls: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(CannotRebuild, match=reason):
        recover_material(calls)


@pytest.mark.parametrize(
    "body",
    [
        "bare text",
        "<actions>\n<tool_call>f()</tool_call>\n</actions>",
    ],
)  # fmt: skip
def test_an_unknown_form_of_body_is_refused(body: str) -> None:
    with pytest.raises(CannotRebuild, match="cannot be read back"):
        rebuild_request(
            JudgeMaterial("s", "", [body, '<message role="user">\nx\n</message>']), [None]
        )


@pytest.mark.parametrize(
    "fields", [{}, {"task": "Add up."}, {"reference": "5"}, {"task": "Add up.", "reference": "5"}]
)
@pytest.mark.parametrize("instructions", [[], [{"role": "system", "content": "Be brief."}]])
@pytest.mark.parametrize("form", ["best", "yes_no"])
def test_a_group_under_plain_headings_is_rebuilt(
    fields: dict[str, Any], instructions: list[dict[str, str]], form: str
) -> None:
    request = RankRequest.model_validate(group("5", "6\n\nor 7", "Answer: 8") | fields)
    for trajectory in request.trajectories:
        trajectory.messages[:0] = [Message.model_validate(each) for each in instructions]
    request.trajectories[1].finish_reason = "length"
    transcript = show_plainly(transcribe(request, [0, 1, 2]), request)
    assert transcript.is_plain
    calls = []
    for order in [[2, 0, 1]] if form == "best" else [[0], [1], [2]]:
        prompt = build_prompt(form, "short", "", transcript, order)
        verdict = {"ids": prompt.ids, "order": order}
        calls.append({"messages": prompt.chat(), "verdict": verdict})
    material = recover_material(calls)
    assert material == JudgeMaterial("", transcript.context, transcript.bodies, is_plain=True)
    rebuilt = rebuild_request(material, [None])
    assert (rebuilt.task, rebuilt.reference) == (request.task, request.reference)
    assert transcribe(rebuilt, [0, 1, 2]).digests == transcript.digests
