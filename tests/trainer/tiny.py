"""Make tiny random models, a small real tokenizer and samples, with nothing from a hub."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample

VOCAB = 48
END = 2  # <|im_end|>
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("a", "b"), ("ab", "c"), ("1", "2"), ("o", "k")]

CHATML = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WITHOUT_TOOLS = CHATML[CHATML.index("{%- for message") :]
STRIPS_THINKING = CHATML.replace(
    "{{ message.content }}", "{{ message.content.split('</think>')[-1] }}"
)


def tiny_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Make a byte-level BPE with four merges, which encodes and decodes any text."""
    words = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(m) for m in MERGES]
    bpe = models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=MERGES)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    untyped: Any = PreTrainedTokenizerFast
    fast: PreTrainedTokenizerFast = untyped(tokenizer_object=tokenizer, eos_token=SPECIAL[END])
    fast.chat_template = template
    return fast


def tiny_chat(template: str = CHATML, **settings: Any) -> Chat:
    return Chat(tiny_tokenizer(template), **settings)


SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": None,
}
GPT_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": END,
}


def tiny_llama(seed: int = 0, **changes: Any) -> Any:
    return seeded(lambda: LlamaForCausalLM(LlamaConfig(**(SIZES | changes))), seed)


def gpt2() -> Any:
    """Make a GPT-2, whose default dropout is .1."""
    sizes: Any = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 512}
    ends: Any = {"vocab_size": VOCAB, "bos_token_id": None, "eos_token_id": END}
    return GPT2LMHeadModel(GPT2Config(**sizes, **ends, initializer_range=0.3))


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama, eager attention": lambda: LlamaForCausalLM(
        LlamaConfig(**(SIZES | {"attn_implementation": "eager"}))
    ),
    "gpt2": gpt2,
    "gpt neo, local attention": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(**GPT_SIZES, attention_types=[[["global", "local"], 1]], window_size=8)
    ),
    "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)),
    "qwen2, one sliding layer": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    "gemma2, capped logits": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, head_dim=8, sliding_window=4, final_logit_softcapping=2.0)
    ),
    "granite, scaled logits": lambda: GraniteForCausalLM(
        GraniteConfig(**SIZES, logits_scaling=4.0)
    ),
    "cohere, scaled logits": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)),
    "lfm2, convolution and attention": lambda: Lfm2ForCausalLM(
        Lfm2Config(**SIZES, layer_types=["conv", "full_attention"])
    ),
    "mamba": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, state_size=4,
                    initializer_range=0.3, bos_token_id=None, eos_token_id=END)
    ),
}  # fmt: skip


def seeded(make: Callable[[], Any], seed: int = 0) -> Any:
    """Call `make` with a seeded generator, and leave the global one as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def tiny_policy(model: Any = None, template: str = CHATML, **settings: Any) -> Policy:
    settings = {"temperature": 1.0} | settings
    return Policy(tiny_llama() if model is None else model, tiny_chat(template), **settings)


def save_model(folder: Path, model: Any = None, template: str | None = CHATML) -> Path:
    """Write a model folder like those of a hub."""
    model = tiny_llama(vocab_size=len(tiny_tokenizer())) if model is None else model
    model.generation_config.eos_token_id = END
    model.save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder


def sample(
    token_ids: Sequence[int],
    trained: Sequence[int] | None = None,
    *,
    behavior: Sequence[float] | float = -1.0,
    advantage: float = 0.0,
) -> Sample:
    """Make a sample.

    Args:
        token_ids: T ints.
        trained: the positions of sampled tokens; None for all but the first.
        behavior: one logprob for each sampled token, or one for all.
        advantage: the advantage of every sampled token.
    """
    positions = list(range(1, len(token_ids)) if trained is None else trained)
    logprobs = [behavior] * len(positions) if isinstance(behavior, float) else behavior
    by_position = dict(zip(positions, logprobs, strict=True))
    all_positions = range(len(token_ids))
    return Sample(
        list(token_ids),
        [t in by_position for t in all_positions],
        [by_position.get(t, 0.0) for t in all_positions],
        [advantage if t in by_position else 0.0 for t in all_positions],
        [0 if t in by_position else -1 for t in all_positions],
    )


PROMPT = [5, 9, 14, 7, 30, 11, 8, 21, 40, 13, 6, 3]
GROUP = [
    sample([*PROMPT, 12, 13, 14, END], range(12, 16)),
    sample([*PROMPT, 12, 13, 15, 16, 17, 18, 19, END], range(12, 20)),
    sample([*PROMPT, 12, END], [12, 13]),
    sample([5, 9, 14, 22, 23, END], [3, 4, 5]),
]


def naive_logprobs(model: Any, one: Sample, temperature: float = 1.0) -> Tensor:
    """Compute a sample's logprobs (N,) from all logits of its own row, in float64."""
    logits_TV = model(input_ids=torch.tensor([one.token_ids])).logits[0].double() / temperature
    positions = [t for t, is_trained in enumerate(one.loss_mask) if is_trained]
    targets = [one.token_ids[t] for t in positions]
    logprobs_N: Tensor = logits_TV.log_softmax(-1)[[t - 1 for t in positions], targets]
    return logprobs_N


def packed_logprobs(policy: Policy, samples: list[Sample], max_tokens: int = 40) -> list[Tensor]:
    """Compute each sample's logprobs (N,) as the trainer does, in packed micro-batches."""
    by_index: dict[int, Tensor] = {}
    for batch in policy.pack(samples, max_tokens):
        logprobs_N = policy.logprobs(batch)
        for number, index in enumerate(batch.samples):
            by_index[index] = logprobs_N[batch.sequence_N == number]
    return [by_index[i] for i in range(len(samples))]


def flatten(tensors: list[Tensor]) -> list[float]:
    """Return the numbers of all tensors in one list."""
    return [float(x) for tensor in tensors for x in tensor.detach()]


def f64(*values: float) -> Tensor:
    """Return a float64 tensor of numbers."""
    return torch.tensor(values, dtype=torch.float64)


def gradients(model: Any) -> dict[str, Tensor]:
    """Copy every gradient of a model, by parameter name."""
    named = model.named_parameters()
    return {name: p.grad.detach().clone() for name, p in named if p.grad is not None}


def difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """Return the largest difference of two sets of gradients, relative to the largest entry."""
    assert left.keys() == right.keys()
    scale = max(float(g.abs().max()) for g in right.values())
    gap = max(float((left[name] - right[name]).abs().max()) for name in right)
    return gap / scale
