"""Templates that cannot show a message have it said by the user, and no turn is left unopened."""

import pytest

from podium_trainer.policy.template_limits import TemplateLimits
from tests.trainer.templates import DEEPSEEK, LLAMA3, OPENS_THOUGHT, QWEN3, chat_of

# Gemma 2: no system message, and user and model take turns.
GEMMA2 = """\
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}
{%- if message.role in ('user', 'assistant') %}<|im_start|>{{ message.role | replace('assistant', 'model') }}
{{ message.content | trim }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>model
{% endif %}"""  # noqa: E501
# Llama 2 without its system prompt: what it does not know is left out, and no mark opens a turn.
LLAMA2 = """\
{%- for message in messages %}
{%- if message.role == 'user' %}[INST] {{ message.content }} [/INST]{% endif %}
{%- if message.role == 'assistant' %} {{ message.content }}<|im_end|>{% endif %}
{%- endfor %}"""
UNOPENED = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}"""
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2 + 2?"},
    {"role": "user", "content": "In words."},
    {"role": "assistant", "content": "add(2, 2)"},
    {"role": "tool", "content": "4", "tool_call_id": "call_1_0"},
]


@pytest.mark.parametrize("template", [QWEN3, DEEPSEEK, LLAMA3, OPENS_THOUGHT])
def test_a_template_that_shows_all_is_given_all(template: str) -> None:
    chat = chat_of(template)
    assert chat.limits == TemplateLimits()
    assert chat.limits.fit(TALK) == TALK


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            GEMMA2,
            "<|im_start|>user\nBe brief.\n\n2 + 2?\n\nIn words.<|im_end|>\n"
            "<|im_start|>model\nadd(2, 2)<|im_end|>\n<|im_start|>user\n4<|im_end|>\n"
            "<|im_start|>model\n",
        ),
        (
            LLAMA2,
            "[INST] Be brief.\n\n2 + 2?\n\nIn words. [/INST] add(2, 2)<|im_end|>[INST] 4 [/INST]",
        ),
    ],
)
def test_what_a_template_does_not_show_the_user_says(template: str, text: str) -> None:
    assert chat_of(template).render(TALK, None) == text


def test_a_turn_that_the_template_leaves_out_is_begun() -> None:
    chat = chat_of(UNOPENED)
    prompt = chat.render(TALK[:2], None)
    assert prompt.endswith("2 + 2?<|im_end|>\n<|im_start|>assistant\n")
    ids = chat.encode(f"{prompt}4<|im_end|>")
    answer = {"role": "assistant", "content": "4"}
    added = chat.encode_continuation(ids, chat.render([*TALK[:2], answer, TALK[1]], None))
    assert added is not None
    assert chat.decode(added).endswith(
        "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    )
