"""Long sequences in the trainer: what packing takes, and the peak memory of an update.

    python -m benchmarks.long_context [--lengths 512,1024,2048,4096,8192,16384] [--out FILE]

Prints JSON with date and versions. The model is random: 2 layers, width 64, 4,096 words. Each row
is measured in a forked process. An update trains one sample; its peak is the process's own, less
what it had before. `mask` forces the mask of T x T entries that long rows had before. Seconds are
those of the CPU.
"""

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Annotated, Any

import torch
import typer
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.machine import machine
from podium_trainer.config import LossConfig
from podium_trainer.policy.chat import Chat
from podium_trainer.policy.packing import DENSE_TOKENS, pack_shared
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.update import update

WORDS, PROMPT = 4096, 64
PACKED = (1024, 4096, 16_384, 32_768, 65_536)
MAX_MASKED = 4096  # a mask of more tokens may need more memory than there is
MODES = ("spans", "spans, checkpointing", "mask")
Row = dict[str, Any]


def draw_sample(length: int) -> Sample:
    draw = random.Random(0)
    is_sampled = [at >= PROMPT for at in range(length)]
    values = [1.0 if sampled else 0.0 for sampled in is_sampled]
    ids = [draw.randrange(3, WORDS) for _ in range(length)]
    return Sample(ids, is_sampled, [-8.0 * value for value in values], values, [0] * length)


def build_policy(length: int, mode: str) -> Policy:
    torch.manual_seed(0)
    settings: Any = {"vocab_size": WORDS, "max_position_embeddings": length + 1}
    sizes: Any = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2}
    model: Any = LlamaForCausalLM(LlamaConfig(**settings, **sizes, num_attention_heads=2))
    if "checkpointing" in mode:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=Tokenizer(models.BPE(vocab={"e": 0}, merges=[])))
    tokenizer.eos_token, tokenizer.chat_template = "e", "{{ messages }}"
    dense_tokens = 10**9 if mode == "mask" else DENSE_TOKENS
    return Policy(model.train(), Chat(tokenizer), temperature=1.0, dense_tokens=dense_tokens)


def measure_packing(length: int) -> Row:
    """Pack one sample."""
    sample = draw_sample(length)
    before_mb, started = peak_mb(), time.process_time()
    [build] = pack_shared([sample], length)
    build()
    seconds = time.process_time() - started
    mask_mb = length**2 / 1e6
    return {"tokens": length, "seconds": seconds, "mb": peak_mb() - before_mb, "mask_mb": mask_mb}


def measure_update(length: int, mode: str) -> Row:
    """Train one sample."""
    policy = build_policy(length, mode)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True)
    sample = draw_sample(length)
    settings: Any = {"max_completion_tokens": length, "micro_batch_tokens": length}
    before_mb, started = peak_mb(), time.process_time()
    update(policy, optimizer, [[[sample]]], LossConfig(), max_grad_norm=1.0, **settings)
    seconds = time.process_time() - started
    return {"tokens": length, "mode": mode, "peak_mb": peak_mb() - before_mb, "seconds": seconds}


def peak_mb() -> float:
    return getrusage(RUSAGE_SELF).ru_maxrss / 1000


def in_own_process(call: Callable[[], Row]) -> Row:
    """Call a function in a forked process, whose peak of memory is its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply(call)
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def main(
    lengths: Annotated[str, typer.Option(help="Tokens of the samples that are trained.")] = (
        "512,1024,2048,4096,8192,16384"
    ),
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to a file.")] = None,
) -> None:
    """Print JSON with the packing and the updates of all lengths."""
    torch.set_num_threads(1)
    sizes = [int(each) for each in lengths.split(",")]
    jobs = [(n, m) for n in sizes for m in MODES if m != "mask" or n <= MAX_MASKED]
    versions = {name: version(name) for name in ("torch", "transformers", "numpy")}
    found = machine() | {
        "versions": versions,
        "packing": [in_own_process(partial(measure_packing, n)) for n in PACKED],
        "update": [in_own_process(partial(measure_update, n, mode)) for n, mode in jobs],
    }
    text = json.dumps(found, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
