"""Templates of well-known families: variables, tools' schemas, thoughts that a prompt opens."""

from pathlib import Path

import pytest

from podium_trainer.config import ModelConfig
from podium_trainer.policy.chat import Message
from podium_trainer.policy.load import PolicyError, load_policy
from podium_trainer.policy.tool_calls import FORMATS
from tests.trainer.templates import DEEPSEEK, LLAMA3, OPENS_THOUGHT, QWEN3, TOKENIZERS, chat_of
from tests.trainer.tiny import save_model

USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "price", "parameters": {}}}]
CALL = {"type": "function", "function": {"name": "price", "arguments": '{"item": "pear"}'}}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_variables_reach_the_template(tokenizer: str) -> None:
    plain = chat_of(QWEN3, tokenizer)
    quiet = chat_of(QWEN3, tokenizer, template_kwargs={"enable_thinking": False})
    assert plain.render([USER], None).endswith("<|im_start|>assistant\n")
    rendered = quiet.render([USER], None)
    assert rendered.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    text, turn = quiet.read_turn(quiet.encode(rendered), quiet.encode("4"))
    assert (text, turn.answer, turn.thoughts) == ("4", "4", "")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", [DEEPSEEK, OPENS_THOUGHT])
def test_a_thought_that_the_prompt_opens_needs_no_mark(template: str, tokenizer: str) -> None:
    chat = chat_of(template, tokenizer)
    prompt_ids = chat.encode(chat.render([USER], None))
    text, turn = chat.read_turn(prompt_ids, chat.encode("hm\n</think>\n\n4"))
    assert text == "<think>\nhm\n</think>\n\n4"
    assert (turn.answer, turn.thoughts) == ("4", "hm")
    text, turn = chat.read_turn(prompt_ids, chat.encode("hm, so"))
    assert (turn.answer, turn.thoughts) == ("", "hm, so")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_tools_and_calls_go_through_the_template(tokenizer: str) -> None:
    called: list[Message] = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    qwen, llama = chat_of(QWEN3, tokenizer), chat_of(LLAMA3, tokenizer)
    assert qwen.tool_format is FORMATS["hermes"]
    assert llama.tool_format is FORMATS["llama3_json"]
    for chat in (qwen, llama):
        text = chat.render(called, TOOLS)
        assert text.count('"name": "price"') == 2  # the schema and the call
        assert '{"item": "pear"}' in text  # an object, and no text with quotes in it
        assert "You may call" not in text
        assert chat.decode(chat.encode(text)) == text
    assert CALL["function"] == {"name": "price", "arguments": '{"item": "pear"}'}


def test_a_variable_that_the_template_lacks_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, template=QWEN3)
    config = ModelConfig(
        path=str(folder), device="cpu", chat_template_kwargs={"enable_thinking": False}
    )
    chat = load_policy(config, temperature=1.0).chat
    assert chat.render([USER], None).endswith("</think>\n\n")
    wrong = config.model_copy(update={"chat_template_kwargs": {"enable_thoughts": False}})
    with pytest.raises(PolicyError, match=r"does not use 'enable_thoughts' of model\.chat_templ"):
        load_policy(wrong, temperature=1.0)


def test_a_variable_that_the_trainer_sets_is_refused() -> None:
    with pytest.raises(ValueError, match="the trainer itself sets tokenize, tools: leave it out"):
        ModelConfig(path="x", chat_template_kwargs={"tools": [], "tokenize": True})
