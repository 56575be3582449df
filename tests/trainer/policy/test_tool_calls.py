"""Tool calls as models write them: every text is parsed or refused with a message."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium_trainer.policy.tool_calls import FORMATS, BadToolCall, ToolCall, ToolFormat

HERMES, LLAMA = FORMATS["hermes"], FORMATS["llama3_json"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(ToolCall, st.text(), st.dictionaries(st.text(), JSON, max_size=3))


def hermes(call: ToolCall) -> str:
    body = json.dumps({"name": call.name, "arguments": call.arguments})
    return f"<tool_call>\n{body}\n</tool_call>"


def test_hermes_calls_are_parsed_in_order_from_surrounding_text() -> None:
    text = (
        "I look both up.\n<tool_call>\n"
        '{"name": "price", "arguments": {"item": "pear"}}\n</tool_call>\nand\n'
        '<tool_call>{"name": "now"}</tool_call> done'
    )
    assert HERMES.parse(text) == [ToolCall("price", {"item": "pear"}), ToolCall("now", {})]


def test_a_hermes_call_may_end_with_the_completion() -> None:
    assert HERMES.parse('<tool_call>{"name": "f", "arguments": {}}') == [ToolCall("f", {})]
    assert HERMES.parse('<tool_call>\n{"name": "f"}\n') == [ToolCall("f", {})]


@pytest.mark.parametrize("text", ["", "7", "tool_call", "</tool_call>", "<tool>", '{"name": "f"}'])
def test_text_without_hermes_tags_holds_no_call(text: str) -> None:
    assert HERMES.parse(text) == []


def test_llama_calls_are_the_whole_completion() -> None:
    call = '{"name": "price", "parameters": {"item": "pear"}}'
    expected = [ToolCall("price", {"item": "pear"})]
    assert LLAMA.parse(call) == LLAMA.parse(f"  {call}\n") == expected
    assert LLAMA.parse(f"<|python_tag|>{call}") == expected
    assert LLAMA.parse('{"name": "now"}') == [ToolCall("now", {})]
    assert LLAMA.parse(f"I call {call}") == LLAMA.parse("7") == LLAMA.parse("") == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "the tool call is not JSON: "),
        ('{"name": "f"} {"name": "g"}', "the tool call is not JSON: Extra data"),
        ('{"name": "f", "ARGUMENTS": ', "the tool call is not JSON: "),
        ("{" * 100_000, "the tool call is not JSON: "),
        ('{"ARGUMENTS": {}}', 'a tool call is a JSON object with a "name"'),
        ('{"name": 7}', 'a tool call is a JSON object with a "name"'),
        ('{"name": "f", "ARGUMENTS": [1]}', '"ARGUMENTS" must be a JSON object'),
        ('{"name": "f", "ARGUMENTS": "{}"}', '"ARGUMENTS" must be a JSON object'),
        ('{"name": "f", "ARGUMENTS": null}', '"ARGUMENTS" must be a JSON object'),
        ('{"name": "f", "ARGUMENTS": {"x": "\\ud83d"}}', "the tool call is not JSON: .*surrogates"),
        ('{"name": "\\udc00"}', "the tool call is not JSON: .*surrogates"),
        ('{"name": "f", "ARGUMENTS": {"x": ' + "[" * 200 + "]" * 200 + "}}", "nested too deep"),
        ('{"name": "f", "ARGUMENTS": {"x": ' + "9" * 5000 + "}}", "the tool call is not JSON: "),
    ],
    ids=lambda text: text[:30],
)
@pytest.mark.parametrize("name", FORMATS)
def test_an_unreadable_call_is_explained_to_the_model_in_a_line(
    name: str, body: str, words: str
) -> None:
    key = {"hermes": "arguments", "llama3_json": "parameters"}[name]
    text = body.replace("ARGUMENTS", key)
    with pytest.raises(BadToolCall, match=words.replace("ARGUMENTS", key)) as caught:
        FORMATS[name].parse(f"<tool_call>{text}</tool_call>" if name == "hermes" else text)
    assert "\n" not in str(caught.value)


def test_one_bad_call_refuses_the_whole_completion() -> None:
    with pytest.raises(BadToolCall):
        HERMES.parse('<tool_call>{"name": "f"}</tool_call><tool_call>{</tool_call>')


FRAGMENTS = st.lists(
    st.sampled_from(
        ["<tool_call>", "</tool_call>", "<|python_tag|>", "{", "}", "[", "]", '"', ":", ",", "\\",
         '"name"', '"arguments"', '"parameters"', "null", "1e999", "NaN", "\\ud800", "\n", " f"]
    )
    | st.text(max_size=3),
    max_size=25,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@given(text=FRAGMENTS)
@example(text='<tool_call>{"name":"f","arguments":{"x":NaN}}')
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_list_of_calls_or_a_bad_tool_call(name: str, text: str) -> None:
    try:
        calls = FORMATS[name].parse(text)
    except BadToolCall:
        return
    assert isinstance(calls, list)
    for call in calls:
        again = ToolCall.from_json(call.name, call.arguments_json())
        assert again.arguments_json() == call.arguments_json()
        call.arguments_json().encode()


@pytest.mark.parametrize("depth", [50, 90, 400, 900, 980, 995, 3000])
def test_a_call_nested_beyond_the_limit_is_refused(depth: int) -> None:
    text = '<tool_call>{"name": "f", "arguments": {"x": ' + "[" * depth + "]" * depth + "}}"
    try:
        [call] = HERMES.parse(text)
    except BadToolCall:
        assert depth > 90
    else:
        assert depth <= 90
        assert ToolCall.from_json("f", call.arguments_json()) == call


@given(st.lists(CALLS, max_size=3))
@settings(max_examples=50, deadline=None)
def test_hermes_calls_survive_writing_and_parsing(calls: list[ToolCall]) -> None:
    assert HERMES.parse("\n".join(map(hermes, calls))) == calls


@given(st.lists(CALLS, max_size=3))
@settings(max_examples=50, deadline=None)
def test_calls_written_as_text_survive_parsing(
    calls: list[ToolCall],
) -> None:
    assert HERMES.parse("I look it up. " + HERMES.write(calls)) == calls
    assert LLAMA.parse(LLAMA.write(calls[:1])) == calls[:1]


def test_remove_calls_leaves_the_text_around_them() -> None:
    text = '  One <tool_call>{"name": "f"}</tool_call>two\n<tool_call>{oops'
    assert HERMES.remove_calls(text) == "One two"
    assert HERMES.remove_calls("<tool_call>{}</tool_call>") == ""
    assert LLAMA.remove_calls('{"name": "f"}') == ""


@given(CALLS)
@settings(max_examples=50, deadline=None)
def test_llama_calls_survive_writing_and_parsing(call: ToolCall) -> None:
    assert LLAMA.parse(json.dumps({"name": call.name, "parameters": call.arguments})) == [call]


@given(CALLS)
@settings(max_examples=50, deadline=None)
def test_arguments_survive_the_message_that_carries_them(call: ToolCall) -> None:
    assert ToolCall.from_json(call.name, call.arguments_json()) == call


@pytest.mark.parametrize("tool_format", FORMATS.values(), ids=FORMATS)
def test_a_format_describes_every_tool_and_how_to_call_it(tool_format: ToolFormat) -> None:
    tools: list[dict[str, Any]] = [
        {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "{odd}", "parameters": {}}},
    ]
    words = tool_format.describe_tools(tools)
    assert all(json.dumps(tool["function"]["name"]) in words for tool in tools)
    assert '{"name":' in words
