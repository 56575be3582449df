"""Tool results name their call, whatever ids and names clients send with them."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.prompts.conversations import (
    assistant,
    group_request,
    prompt_text,
    transcribe_all,
    user,
)


def calls(*functions: tuple[str | None, str]) -> dict[str, Any]:
    """Return a turn that calls these functions, each with its id; None leaves the id out."""
    made: list[dict[str, Any]] = [
        {"function": {"name": name, "arguments": "{}"}} | ({} if id is None else {"id": id})
        for id, name in functions
    ]
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": text, **fields}


def tags(*messages: dict[str, Any]) -> list[str]:
    """Return `attributes: text` of each tool result that a judge is shown."""
    transcript = transcribe_all(group_request([user("q"), *messages], [user("q"), assistant("x")]))
    shown = re.findall(r"<tool_result (.*)>\n(.*)\n</tool_result>", "\n".join(transcript.bodies))
    return [f"{attributes}: {text}" for attributes, text in shown]


TWO = (("a", "f"), ("b", "g"))
FIRST, SECOND = 'name="f" number="1": 1', 'name="g" number="2": 2'


@pytest.mark.parametrize(
    "messages",
    [
        [calls(*TWO), result("1", tool_call_id="a"), result("2", tool_call_id="b")],
        [calls(*TWO), result("1", name="f"), result("2", name="g")],
        [calls(*TWO), result("1"), result("2")],
        [calls((None, "f"), (None, "g")), result("1", tool_call_id="x"), result("2", name="g")],
        [calls(("", "f"), ("", "g")), result("1", tool_call_id=""), result("2", tool_call_id="")],
        [calls(("c", "f"), ("c", "g")), result("1", tool_call_id="c"),
         result("2", tool_call_id="c")],
        [calls(("7", "f"), ("8", "g")), result("1", tool_call_id=7), result("2", tool_call_id=8)],
        [calls(*TWO), result("1", role="function", name="f"), result("2", name="g")],
        [calls(("x" * 4096, "f"), (None, "g")), result("1", tool_call_id="x" * 4096), result("2")],
    ],
    ids=[
        "ids", "names", "order", "ids only of results", "empty ids", "one id", "numbers",
        "legacy role", "long id",
    ],
)  # fmt: skip
def test_results_find_their_parallel_calls(messages: list[dict[str, Any]]) -> None:
    assert tags(*messages) == [FIRST, SECOND]


def test_results_in_another_order_find_their_calls_by_name() -> None:
    two = calls((None, "f"), (None, "g"))
    assert tags(two, result("2", name="g"), result("1", name="f")) == [SECOND, FIRST]
    same = calls(("c", "f"), ("c", "g"))
    swapped = [result("2", name="g", tool_call_id="c"), result("1", name="f", tool_call_id="c")]
    assert tags(same, *swapped) == [SECOND, FIRST]


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ([result("r")], 'name="unknown": r'),
        ([result("r", tool_call_id="old")], 'name="unknown": r'),
        ([result("r", tool_call_id=None, name="look")], 'name="look": r'),
        ([result("r", name={"a": 1})], 'name="unknown": r'),
        ([calls(("new", "f")), result("r", tool_call_id="old")], 'name="unknown": r'),
        ([calls(("new", "f")), result("r", tool_call_id="old", name="f")], 'name="unknown": r'),
        ([calls(("new", "f")), result("r", name="g")], 'name="g": r'),
        ([result("r", tool_call_id="c"), calls(("c", "f"))], 'name="unknown": r'),
        ([calls((None, "f")), assistant("so"), result("r")], 'name="f": r'),
        ([calls(("c", "f")), calls(("d", "g")), result("r", tool_call_id="c")], 'name="f": r'),
        ([calls(("c", "f")), calls((None, "g")), result("r")], 'name="g": r'),
    ],
)
def test_a_result_of_no_call_is_shown_as_such(messages: list[dict[str, Any]], shown: str) -> None:
    if messages[-1].get("tool_call_id") == "old" and messages[-1].get("name"):
        shown = 'name="f": r'  # an orphan keeps the name it came with
    assert tags(*messages) == [shown]


def test_more_results_than_calls_leave_orphans() -> None:
    assert tags(calls((None, "f")), result("1"), result("2")) == [
        'name="f": 1', 'name="unknown": 2',
    ]  # fmt: skip
    # A call with an id keeps its name for every result that has the id.
    assert tags(calls(("c", "f")), *[result(n, tool_call_id="c") for n in "12"]) == [
        'name="f": 1', 'name="f": 2',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (None, "f()"),
        ("null", "f()"),
        ("", "f()"),
        ({}, "f()"),
        ("{}", "f()"),
        ({"a": 6}, "f(a=6)"),
        ('{ "a" : 6 }', "f(a=6)"),
        ([1, "x"], 'f([1,"x"])'),
        ('[1, "x"]', 'f([1,"x"])'),
        ('{"a": [1.50]}', "f(a=[1.50])"),
        ("not JSON", "f(not JSON)"),
    ],
)
def test_arguments_are_shown_alike_as_text_and_as_json(arguments: Any, shown: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    turn = {"role": "assistant", "tool_calls": [call]}
    transcript = transcribe_all(group_request([user("q"), turn], [user("q"), assistant("x")]))
    assert any(f"<tool_call>{shown}</tool_call>" in body for body in transcript.bodies)


def test_a_call_without_a_name_is_shown_as_unknown() -> None:
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": None, "arguments": {}}}]}
    transcript = transcribe_all(group_request([user("q"), turn], [user("q"), assistant("x")]))
    assert "<tool_call>unknown()</tool_call>" in prompt_text(transcript)


def respelled(draw: st.DrawFn, message: dict[str, Any]) -> dict[str, Any]:
    """Return the message in another form that says the same."""
    message = json.loads(json.dumps(message))
    text = message.pop("content")
    forms: list[Any] = [text, [{"type": "text", "text": text}], [text], [{"text": text}]]
    if message["role"] == "assistant":
        thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
        forms.append([thought, {"type": "text", "text": text}])
        message |= draw(st.sampled_from([{}, {"reasoning_content": "hm"}, {"reasoning": None}]))
    if not text:
        forms += [None, [], ...]
    form = draw(st.sampled_from(forms))
    if form is not ...:
        message["content"] = form
    made = message.pop("tool_calls", None)
    if made:
        message |= draw(st.sampled_from([_nested, _flat, _as_text, _legacy]))(made)
    elif message["role"] != "tool":
        message |= draw(st.sampled_from([{}, {"tool_calls": []}, {"tool_calls": None}]))
    if message["role"] == "tool":
        message |= draw(
            st.sampled_from(
                [{}, {"name": "f"}, {"tool_call_id": None}, {"tool_call_id": ""},
                 {"role": "function", "name": "f"}, {"name": None}]
            )
        )  # fmt: skip
    return message


def _nested(made: list[Any]) -> dict[str, Any]:
    return {"tool_calls": [{"id": None, "type": "function", "function": made[0]}]}


def _flat(made: list[Any]) -> dict[str, Any]:
    return {"tool_calls": [made[0]]}


def _as_text(made: list[Any]) -> dict[str, Any]:
    arguments = json.dumps(made[0]["arguments"], indent=1)
    return {"tool_calls": [{"id": "", "function": {"name": "f", "arguments": arguments}}]}


def _legacy(made: list[Any]) -> dict[str, Any]:
    return {"tool_calls": None, "function_call": made[0]}


CONVERSATION: list[dict[str, Any]] = [
    user("q"),
    {**assistant(""), "tool_calls": [{"name": "f", "arguments": {"a": [1, "x"]}}]},
    {"role": "tool", "content": "42"},
    assistant(""),
    {**assistant("once more"), "tool_calls": [{"name": "f", "arguments": {}}]},
    {"role": "tool", "content": ""},
    assistant("done"),
]


CONVERSATIONS = st.tuples(*map(st.composite(respelled), CONVERSATION)).map(list)


@settings(max_examples=100)
@given(CONVERSATIONS, CONVERSATIONS)
def test_equal_trajectories_stay_equal_however_they_are_spelled(
    first: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    assert transcribe_all(group_request(first, other)).members == [[0, 1]]
