"""Chat templates and tokens: what was sampled stays, and what is added is what they render."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.policy.chat import Chat, guess_format, with_tools_told
from podium_trainer.policy.tool_calls import FORMATS
from tests.trainer.tiny import (
    CHATML,
    END,
    STRIPS_THINKING,
    WITHOUT_TOOLS,
    tiny_chat,
    tiny_tokenizer,
)

CHAT = tiny_chat()
USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "price", "parameters": {}}}]
PROMPT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_prompt_ends_where_the_assistant_speaks() -> None:
    assert CHAT.render([USER], None) == PROMPT
    ids = CHAT.encode(PROMPT)
    assert ids[0] == 1  # the template's own special token, and none before it
    assert CHAT.decode(ids) == PROMPT


def test_a_completions_text_leaves_its_stop_token_out() -> None:
    ok = CHAT.encode("ok")
    assert CHAT.completion_text([*ok, END]) == "ok"
    assert CHAT.completion_text(ok) == "ok"
    assert CHAT.completion_text([END]) == ""
    assert Chat(tiny_tokenizer(), [0, None]).completion_text([*ok, 0]) == "ok"  # type: ignore[list-item]


TEXT = st.text(max_size=12).filter(lambda text: "<|" not in text)


@given(user=TEXT, said=TEXT, result=TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_goes_through_the_tokens_and_back(user: str, said: str, result: str) -> None:
    messages = [{"role": "user", "content": user}]
    rendered = CHAT.render(messages, None)
    so_far = [*CHAT.encode(rendered), *CHAT.encode(said), END]
    assert CHAT.completion_text(so_far[len(CHAT.encode(rendered)) :]) == said
    longer = [
        *messages,
        {"role": "assistant", "content": said},
        {"role": "tool", "content": result},
    ]
    after = CHAT.render(longer, None)
    added = CHAT.continuation(so_far, after)
    assert added is not None
    assert CHAT.decode([*so_far, *added]) == after


@given(ids=st.lists(st.integers(0, 262).filter(lambda i: i != END), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_sampled_tokens_are_continued_even_if_they_are_no_text(ids: list[int]) -> None:
    so_far = [*CHAT.encode(PROMPT), *ids, END]
    said = CHAT.completion_text([*ids, END])
    after = CHAT.render([USER, {"role": "assistant", "content": said}, USER], None)
    added = CHAT.continuation(so_far, after)
    assert added is not None
    assert CHAT.decode(added) == "\n" + PROMPT


def test_sampled_tokens_that_text_would_not_give_are_kept() -> None:
    letters = CHAT.tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    assert CHAT.encode("abc") != letters
    so_far = [*CHAT.encode(PROMPT), *letters, END]
    after = CHAT.render([USER, {"role": "assistant", "content": "abc"}, USER], None)
    added = CHAT.continuation(so_far, after)
    assert added == CHAT.encode("\n" + PROMPT)


def test_a_template_that_rewrites_earlier_turns_has_no_continuation() -> None:
    chat = tiny_chat(STRIPS_THINKING)
    said = "<think>hm</think>ok"
    so_far = [*chat.encode(PROMPT), *chat.encode(said), END]
    after = chat.render([USER, {"role": "assistant", "content": said}, USER], None)
    assert chat.continuation(so_far, after) is None
    plain = [*chat.encode(PROMPT), *chat.encode("ok"), END]
    assert chat.continuation(plain, after) is not None


def test_templates_that_show_tools_are_given_them_and_others_are_told() -> None:
    assert '"name": "price"' in CHAT.render([USER], TOOLS)
    assert "<tool_call>" not in CHAT.render([USER], TOOLS)
    chat = tiny_chat(WITHOUT_TOOLS)
    assert not chat.template_shows_tools
    told = chat.render([USER], TOOLS)
    words = FORMATS["hermes"].tell(TOOLS)
    assert told == f"<|im_start|>system\n{words}<|im_end|>\n{PROMPT}"
    assert chat.render([USER], None) == PROMPT


def test_calls_in_a_prompt_are_written_where_the_template_would_leave_them_out() -> None:
    call = {"type": "function", "function": {"name": "price", "arguments": '{"item": "pear"}'}}
    asks = {"role": "assistant", "content": "Well: ", "tool_calls": [call]}
    silent = {"role": "assistant", "content": None, "tool_calls": [call]}
    written = '<tool_call>{"name": "price", "arguments": {"item": "pear"}}</tool_call><|im_end|>'
    chat = tiny_chat(WITHOUT_TOOLS)
    assert f"assistant\nWell: {written}" in chat.render([USER, asks], None)
    assert f"assistant\n{written}" in chat.render([USER, silent], TOOLS)
    assert written not in CHAT.render([USER, asks], TOOLS)


def test_tools_are_told_within_the_system_message_if_there_is_one() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert with_tools_told([system, USER], "Tools.") == [
        {"role": "system", "content": "Be brief.\n\nTools."},
        USER,
    ]
    assert system["content"] == "Be brief."
    assert with_tools_told([], "Tools.") == [{"role": "system", "content": "Tools."}]


def test_the_tool_format_is_guessed_from_the_template_or_named() -> None:
    assert guess_format(CHATML) == "hermes"
    assert guess_format("... <|python_tag|> ...") == "llama3_json"
    assert guess_format("{{ 'ipython' }}") == "llama3_json"
    assert tiny_chat().tool_format is FORMATS["hermes"]
    assert tiny_chat(tool_format="llama3_json").tool_format is FORMATS["llama3_json"]


def test_stop_tokens_are_the_tokenizers_and_the_models() -> None:
    assert tiny_chat().stop_ids == {END}
    assert tiny_chat(stop_ids=[0]).stop_ids == {0, END}


def test_a_tokenizer_without_template_or_end_token_is_refused() -> None:
    with pytest.raises(ValueError, match="has no chat template: take an instruction-tuned model"):
        Chat(tiny_tokenizer(None))
    endless: Any = tiny_tokenizer()
    endless.eos_token = None
    with pytest.raises(ValueError, match="no end token"):
        Chat(endless)
    assert Chat(endless, [7]).stop_ids == {7}
