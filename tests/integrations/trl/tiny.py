"""A tiny random model with a tokenizer of bytes, and runs of TRL's trainer that train it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed
from trl import GRPOConfig, GRPOTrainer

END = "<|im_end|>"
SPECIAL = ["<|endoftext|>", "<|im_start|>", END]
MAX_TOKENS = 24
QWEN3 = Path(trl.__file__).parent / "chat_templates/qwen3.jinja"

Completions = Callable[[int, str], str]


def tiny_tokenizer() -> Any:
    """Return a tokenizer of single bytes, with the chat template of Qwen3."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=SPECIAL[0],
        chat_template=QWEN3.read_text("utf-8"),
    )


def tiny_model(tokenizer: Any) -> Any:
    set_seed(1)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def scripted(completions: Completions) -> Callable[[list[Any], Any], dict[str, Any]]:
    """Return a `rollout_func` that writes `completions(position in the batch, prompt)`.

    The position counts over all processes, so that any number of them writes the same.
    """

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        tokenizer = trainer.processing_class
        begun = trainer.accelerator.process_index * len(prompts)
        texts = [
            prompt
            if isinstance(prompt, str)
            else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            for prompt in prompts
        ]
        written = [completions(begun + index, text) + END for index, text in enumerate(texts)]
        return {
            "prompt_ids": tokenizer(texts)["input_ids"],
            "completion_ids": tokenizer(written)["input_ids"],
            "logprobs": None,
        }

    return rollout


def trainer(
    folder: Path,
    reward: Callable[..., Any],
    rows: Sequence[dict[str, Any]],
    *,
    completions: Completions | None = None,
    tools: list[Callable[..., Any]] | None = None,
    eval_rows: Sequence[dict[str, Any]] | None = None,
    callbacks: list[Any] | None = None,
    **settings: Any,
) -> Any:
    """Return a trainer of the tiny model: 3 steps of 2 groups of 4, unless told otherwise."""
    tokenizer = tiny_tokenizer()
    defaults = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": MAX_TOKENS,
        "learning_rate": 1e-3,
        "scale_rewards": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "shuffle_dataset": False,
    }
    return GRPOTrainer(
        model=tiny_model(tokenizer),
        reward_funcs=reward,
        args=GRPOConfig(**{**defaults, **settings}),
        train_dataset=Dataset.from_list(list(rows)),
        eval_dataset=Dataset.from_list(list(eval_rows)) if eval_rows else None,
        processing_class=tokenizer,
        rollout_func=scripted(completions) if completions else None,
        tools=tools,
        callbacks=callbacks,
    )


def logged(finished: Any, name: str) -> list[float]:
    """Return what a run logged under a name, step by step."""
    return [row[name] for row in finished.state.log_history if name in row]
