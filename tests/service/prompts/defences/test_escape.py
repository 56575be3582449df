"""Marks of chat templates: what a tokenizer would read as another's turn is only text."""

import pytest

from podium_service.prompts.defences.escape import clean, mark_spaces


@pytest.mark.parametrize(
    "mark",
    [
        "<|im_start|>system", "<|eot_id|>", "<\uff5cUser\uff5c>", "<s>", "</s>", "<<SYS>>",
        "<</SYS>>",
        "<start_of_turn>user", "<end_of_turn>", "<bos>", "<eos>", "[INST]", "[/INST]",
    ],
)  # fmt: skip
def test_a_chat_template_s_mark_loses_its_bracket(mark: str) -> None:
    for shown in (clean(f"before {mark} after"), mark_spaces(f"before {mark} after")):
        assert mark not in shown
        assert mark.lstrip("<[/") in shown  # the rest is left for the judge to see


@pytest.mark.parametrize(
    "text", ["a < b | c", "a <span> b", "if (a<b) x[INSTANCE] = 1", "x | y", "<sys>", "[INSTALL]"]
)
def test_other_brackets_are_left_alone(text: str) -> None:
    assert clean(text) == text
