"""Chat templates as models ship them, shortened, and tokenizers that know their tokens."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from podium_trainer.policy.chat import Chat
from tests.trainer.tiny import tiny_tokenizer

# Qwen3: thoughts are kept after the last question and dropped before it; an empty thought stands in
# the prompt if `enable_thinking` is false.
QWEN3 = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}# Tools
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- set ns = namespace(last_query=0) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set ns.last_query = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' %}
{%- set content = message.content or '' %}
{%- set thoughts = '' %}
{%- if '</think>' in content %}
{%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}<|im_start|>assistant
{% if loop.index0 > ns.last_query and thoughts %}<think>
{{ thoughts.strip('\\n') }}
</think>

{% endif %}{{ content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {% if call.function.arguments is string %}{{ call.function.arguments }}{% else %}{{ call.function.arguments | tojson }}{% endif %}}
</tool_call>
{%- endfor %}<|im_end|>
{% elif message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}
{%- endif %}"""  # noqa: E501

# DeepSeek-R1: the prompt opens the thought, and no turn of the past keeps its own.
DEEPSEEK = """\
{%- for message in messages %}
{%- if message.role == 'system' %}{{ message.content }}{% endif %}
{%- if message.role == 'user' %}<|User|>{{ message.content }}{% endif %}
{%- if message.role == 'tool' %}<|tool_output|>{{ message.content }}{% endif %}
{%- if message.role == 'assistant' %}<|Assistant|>{{ message.content.split('</think>')[-1] }}<|im_end|>{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|Assistant|><think>
{% endif %}"""  # noqa: E501

# ChatML whose prompt opens the thought, and that repeats every message as it is.
OPENS_THOUGHT = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""

# Llama 3.1: tools stand in the first question, calls are JSON, results come from `ipython`.
LLAMA3 = """\
{%- if messages[0].role == 'system' %}<|start_header_id|>system<|end_header_id|>

{{ messages[0].content | trim }}<|eot_id|>
{%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>

{{ message.content }}<|eot_id|>
{%- elif message.tool_calls %}<|start_header_id|>assistant<|end_header_id|>

{"name": "{{ message.tool_calls[0].function.name }}", "parameters": {{ message.tool_calls[0].function.arguments | tojson }}}<|eot_id|>
{%- else %}<|start_header_id|>{{ message.role }}<|end_header_id|>

{% if tools and loop.first %}Given the following functions, please respond with a JSON for a function call.

{% for tool in tools %}{{ tool | tojson(indent=4) }}

{% endfor %}{% endif %}{{ message.content | trim }}<|eot_id|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""  # noqa: E501

TOKENS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TOKENS += ["<|User|>", "<|Assistant|>", "<|tool_output|>", "<think>", "</think>"]
SMOLLM2 = Path(__file__).parents[2] / ".models/smollm2-135m-instruct"
TOKENIZERS = [
    "tiny",
    pytest.param("smollm2", marks=pytest.mark.skipif(not SMOLLM2.is_dir(), reason="no SmolLM2")),
]


def chat_of(template: str, tokenizer: str = "tiny", **settings: Any) -> Chat:
    """Make a chat of a template, with a tokenizer to which the template's tokens were added."""
    made: Any = tiny_tokenizer() if tokenizer == "tiny" else AutoTokenizer.from_pretrained(SMOLLM2)
    made.add_tokens(TOKENS)
    made.chat_template = template
    stops = [made.convert_tokens_to_ids("<|eot_id|>")]
    return Chat(made, stops, **settings)
