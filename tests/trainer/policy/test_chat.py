"""Chat templates and tokens: sampled tokens stay, and only the added text is encoded."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.policy.chat import Chat, ChatError, add_to_system_message, guess_tool_format
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


def test_a_prompt_ends_where_the_assistant_turn_begins() -> None:
    assert CHAT.render([USER], None) == PROMPT
    ids = CHAT.encode(PROMPT)
    assert ids[0] == 1  # <|im_start|>, without a begin token before it
    assert CHAT.decode(ids) == PROMPT


def test_a_decoded_completion_lacks_its_stop_token() -> None:
    ok = CHAT.encode("ok")
    assert CHAT.decode_completion([*ok, END]) == "ok"
    assert CHAT.decode_completion(ok) == "ok"
    assert CHAT.decode_completion([END]) == ""
    assert Chat(tiny_tokenizer(), [0, None]).decode_completion([*ok, 0]) == "ok"  # type: ignore[list-item]


TEXT = st.text(max_size=12).filter(lambda text: "<|" not in text)


@given(user=TEXT, completion=TEXT, result=TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_survives_encoding_and_decoding(user: str, completion: str, result: str) -> None:
    messages = [{"role": "user", "content": user}]
    rendered = CHAT.render(messages, None)
    conversation_ids = [*CHAT.encode(rendered), *CHAT.encode(completion), END]
    assert CHAT.decode_completion(conversation_ids[len(CHAT.encode(rendered)) :]) == completion
    longer = [
        *messages,
        {"role": "assistant", "content": completion},
        {"role": "tool", "content": result},
    ]
    after = CHAT.render(longer, None)
    added = CHAT.encode_continuation(conversation_ids, after)
    assert added is not None
    assert CHAT.decode([*conversation_ids, *added]) == after


@given(ids=st.lists(st.integers(0, 262).filter(lambda i: i != END), max_size=12))
@settings(max_examples=60, deadline=None)
def test_sampled_tokens_that_are_no_text_are_continued(ids: list[int]) -> None:
    conversation_ids = [*CHAT.encode(PROMPT), *ids, END]
    completion = CHAT.decode_completion([*ids, END])
    after = CHAT.render([USER, {"role": "assistant", "content": completion}, USER], None)
    added = CHAT.encode_continuation(conversation_ids, after)
    assert added is not None
    assert CHAT.decode(added) == "\n" + PROMPT


def test_sampled_tokens_that_text_would_not_encode_to_are_kept() -> None:
    letters = CHAT.tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    assert CHAT.encode("abc") != letters
    conversation_ids = [*CHAT.encode(PROMPT), *letters, END]
    after = CHAT.render([USER, {"role": "assistant", "content": "abc"}, USER], None)
    added = CHAT.encode_continuation(conversation_ids, after)
    assert added == CHAT.encode("\n" + PROMPT)


def test_a_template_that_rewrites_old_turns_has_no_continuation() -> None:
    chat = tiny_chat(STRIPS_THINKING)
    completion = "<think>hm</think>ok"
    conversation_ids = [*chat.encode(PROMPT), *chat.encode(completion), END]
    after = chat.render([USER, {"role": "assistant", "content": completion}, USER], None)
    assert chat.encode_continuation(conversation_ids, after) is None
    plain = [*chat.encode(PROMPT), *chat.encode("ok"), END]
    assert chat.encode_continuation(plain, after) is not None


def test_tools_go_to_the_template_or_into_the_system_message() -> None:
    assert '"name": "price"' in CHAT.render([USER], TOOLS)
    assert "<tool_call>" not in CHAT.render([USER], TOOLS)
    chat = tiny_chat(WITHOUT_TOOLS)
    assert not chat.template_shows_tools
    description = FORMATS["hermes"].describe_tools(TOOLS)
    with_system = f"<|im_start|>system\n{description}<|im_end|>\n{PROMPT}"
    assert chat.render([USER], TOOLS) == with_system
    assert chat.render([USER], None) == PROMPT


def test_calls_become_text_where_the_template_would_drop_them() -> None:
    call = {"type": "function", "function": {"name": "price", "arguments": '{"item": "pear"}'}}
    with_text = {"role": "assistant", "content": "Well: ", "tool_calls": [call]}
    without_text = {"role": "assistant", "content": None, "tool_calls": [call]}
    written = '<tool_call>{"name": "price", "arguments": {"item": "pear"}}</tool_call><|im_end|>'
    chat = tiny_chat(WITHOUT_TOOLS)
    assert f"assistant\nWell: {written}" in chat.render([USER, with_text], None)
    assert f"assistant\n{written}" in chat.render([USER, without_text], TOOLS)
    assert written not in CHAT.render([USER, with_text], TOOLS)


def test_a_description_is_appended_to_an_existing_system_message() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert add_to_system_message([system, USER], "Tools.") == [
        {"role": "system", "content": "Be brief.\n\nTools."},
        USER,
    ]
    assert system["content"] == "Be brief."
    assert add_to_system_message([], "Tools.") == [{"role": "system", "content": "Tools."}]


def test_the_tool_format_is_guessed_from_the_template_or_named() -> None:
    assert guess_tool_format(CHATML) == "hermes"
    assert guess_tool_format("... <|python_tag|> ...") == "llama3_json"
    assert guess_tool_format("{{ 'ipython' }}") == "llama3_json"
    assert tiny_chat().tool_format is FORMATS["hermes"]
    assert tiny_chat(tool_format="llama3_json").tool_format is FORMATS["llama3_json"]


def test_stop_tokens_come_from_the_tokenizer_and_the_caller() -> None:
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


def test_a_template_that_is_not_jinja_is_named_with_its_line() -> None:
    with pytest.raises(ChatError, match="chat template is not valid in line 10: unexpected '}'"):
        tiny_chat(CHATML + "\n{{ nothing }").render([USER], None)
