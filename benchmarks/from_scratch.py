"""Addition learnt from nothing by a 332k-parameter model: which settings climb, and which hold.

    python -m benchmarks.from_scratch [--steps 600] [--seeds 3]

A service with its embedded default judge must be at --service. Each setting is run over the seeds;
the table shows the training score (share of right answers) at its best and at its end.
"""

import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from podium_trainer.config import TrainConfig
from podium_trainer.records.metrics import Row
from podium_trainer.run.build import open_trainer
from podium_trainer.update.groups import RankedGroup

WORDS = ["<end>", *"0123456789+="]
TEMPLATE = "{{ messages[-1]['content'] | replace(' ', '') }}"
BIG = {"prompts_per_step": 48, "group_size": 64, "max_refills": 0}
STD_AND_KL = {"advantages": "group_std", "kl": "k3", "kl_coef": 0.02}
STEADY = {"lr": 3e-4, "decay": "constant"}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain: group std, lr 1e-3": {
        "loss": {"name": "grpo", "advantages": "group_std", "sequence_ratio_bounds": None},
        "optimizer": {"lr": 1e-3, "decay": "constant", "warmup_steps": 0, "max_grad_norm": 1e9},
    },
    "mean, lr 1e-3": {"optimizer": STEADY | {"lr": 1e-3}},
    "mean, lr 3e-4": {"optimizer": STEADY},
    "48 x 64, mean": {"rollout": BIG, "optimizer": STEADY},
    "48 x 64, group std, KL": {"rollout": BIG, "loss": STD_AND_KL, "optimizer": STEADY},
    "48 x 64, group std, KL, decay": {
        "rollout": BIG, "loss": STD_AND_KL, "optimizer": STEADY | {"decay": "linear"}
    },
}  # fmt: skip


def save_model(folder: Path, seed: int) -> int:
    """Write a fresh model of 332k parameters with a tokenizer of characters; its size."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64,
        bos_token_id=None, eos_token_id=0, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = Split(Regex("<end>|."), "isolated")
    tokenizer.decoder = Fuse()
    make: Any = PreTrainedTokenizerFast
    fast = make(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


class Quiet:
    """Keeps each step's share of right answers."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...

    def note(self, text: str) -> None: ...

    def step_done(self, step: int, row: Row, timing: Row) -> None: ...

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        right = [
            str(attempt.messages[-1]["content"]) == group.prompt.reference
            for group in groups
            for attempt in group.attempts
        ]
        self.scores.append(statistics.fmean(right))


def run(folder: Path, service: str, steps: int, seed: int, setting: dict[str, Any]) -> list[float]:
    """Train once; the share of right answers of every step."""
    save_model(folder / "model", seed)
    config = TrainConfig.model_validate({
        "model": {"path": str(folder / "model"), "autocast": False},
        "task": {"name": "addition", "options": {"held_out": 0}},
        "out": folder / "run",
        "steps": steps,
        "seed": seed,
        "service": {"url": service},
        "sampler": {"max_tokens": 3},
        "rollout": {"prompts_per_step": 16, "group_size": 16, "max_refills": 0},
        "log": {"samples_every": 1},
        "checkpoint": {"every": steps},
        "max_idle_steps": 1000,
        **setting,
    })  # fmt: skip
    watcher = Quiet()
    with open_trainer(config, watcher) as trainer:
        trainer.run()
    return watcher.scores


def smooth(scores: Sequence[float], window: int = 50) -> list[float]:
    return [
        statistics.fmean(scores[max(0, end - window) : end])
        for end in range(window, len(scores) + 1, 10)
    ]


def main(
    service: Annotated[str, typer.Option(help="A service's URL.")] = "http://127.0.0.1:8000",
    steps: int = 600,
    seeds: int = 3,
    only: Annotated[str, typer.Option(help="Settings whose name holds this.")] = "",
    out: Annotated[Path | None, typer.Option(help="Also write the scores as JSON.")] = None,
) -> None:
    """Print a table: best and last score of each setting, over the seeds."""
    torch.set_num_threads(1)
    found: dict[str, list[list[float]]] = {}
    print(f"{'setting':32} {'best':>20} {'last':>20}")
    for name, setting in SETTINGS.items():
        if only not in name:
            continue
        found[name] = []
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(smooth(run(Path(folder), service, steps, seed, setting)))
        best = " ".join(f"{max(scores):.2f}" for scores in found[name])
        last = " ".join(f"{scores[-1]:.2f}" for scores in found[name])
        print(f"{name:32} {best:>20} {last:>20}", flush=True)
    if out is not None:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
