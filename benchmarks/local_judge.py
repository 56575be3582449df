"""What `podium judge serve` gets out of a processor: speed, memory, what reuse of a prompt saves.

    python -m benchmarks.local_judge MODEL.gguf [--threads 1,2] [--repeats 3] [--json FILE]

Each row is a process of its own, by number of threads, with and without flash attention. Of several
runs the fastest counts, because other work on the machine only ever slows one down. Tokens per CPU
second, of all threads together, say what the machine would do if it were quiet and had one core.
"""

import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from podium_service.judges.local.generation.language_model import Logits
from podium_service.judges.local.generation.prompt_cache import PromptCache
from podium_service.judges.local.llama.model import LlamaModel, LlamaOptions

SHARED_TOKENS = 512  # of the two prompts, in whole chunks
OWN_TOKENS = 64
REPLY_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Speed:
    """The fastest of several runs, in seconds on the clock, and the least CPU seconds."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; `exact` says whether reuse gives the same logits bit for bit."""

    threads: int
    flash_attention: bool
    load_s: float
    peak_mb: float
    prompt: Speed
    reply: Speed
    reused: Speed
    exact: bool


def measure(path: Path, threads: int, flash_attention: bool, repeats: int) -> Row:
    """Measure one way to load a model, in a process of its own."""
    started = time.perf_counter()
    model = LlamaModel(path, LlamaOptions(2048, threads, flash_attention))
    load_s = time.perf_counter() - started
    cache = PromptCache(model)
    first, second = prompts(model)

    def evaluate(prompt: list[int]) -> None:
        cache.evaluate(prompt, lambda: True)

    def forget() -> None:
        evaluate([0])

    prompt = fastest(repeats, forget, lambda: evaluate(second))
    fresh = last_logits(model)

    def reply() -> None:
        for index in range(REPLY_TOKENS):
            model.evaluate([int(model.logits().argmax())], len(second) + index, wants_logits=True)

    decoded = fastest(repeats, lambda: evaluate(second), reply)
    reused = fastest(repeats, lambda: evaluate(first), lambda: evaluate(second))
    exact = np.array_equal(fresh, last_logits(model))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    model.close()
    return Row(threads, flash_attention, load_s, peak_mb, prompt, decoded, reused, exact)


def last_logits(model: LlamaModel) -> Logits:
    return model.logits().copy()


def prompts(model: LlamaModel) -> tuple[list[int], list[int]]:
    """Return two prompts that differ in their ends."""
    text = " ".join(
        f"Answer {number} says that {number} + 1 = {number + 1}." for number in range(99)
    )
    tokens = model.tokenize(text)
    shared, rest = tokens[:SHARED_TOKENS], tokens[SHARED_TOKENS:]
    return shared + rest[:OWN_TOKENS], shared + rest[OWN_TOKENS : 2 * OWN_TOKENS]


def fastest(repeats: int, prepare: Callable[[], object], work: Callable[[], object]) -> Speed:
    walls, cpus = [], []
    for _ in range(repeats):
        prepare()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Speed(min(walls), min(cpus))


def table(rows: list[Row]) -> Table:
    drawn = Table("threads", "flash", "load", "memory", "prompt tokens/s", "reply tokens/s")
    drawn.add_column(f"{OWN_TOKENS} new of {SHARED_TOKENS + OWN_TOKENS}")
    drawn.add_column("same logits")
    for row in rows:
        drawn.add_row(
            str(row.threads),
            "on" if row.flash_attention else "off",
            f"{row.load_s:.1f} s",
            f"{row.peak_mb:,.0f} MB",
            rates(SHARED_TOKENS + OWN_TOKENS, row.prompt),
            rates(REPLY_TOKENS, row.reply),
            f"{row.reused.wall_s:.2f} s, not {row.prompt.wall_s:.2f} s",
            "yes" if row.exact else "no",
        )
    return drawn


def rates(tokens: int, speed: Speed) -> str:
    return f"{tokens / speed.wall_s:.1f} ({tokens / speed.cpu_s:.1f} a CPU second)"


def main(
    model: Path,
    threads: str = "1,2",
    repeats: int = 3,
    out: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    rows = []
    for count in (int(each) for each in threads.split(",")):
        for flash_attention in (False, True):
            # A process can load the library once, and its peak of memory never falls.
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                rows.append(pool.submit(measure, model, count, flash_attention, repeats).result())
    Console(width=160).print(table(rows))
    if out:
        about = {
            "machine": machine(),
            "runtime": f"ik-llama-cpp-python {version('ik-llama-cpp-python')}",
            "model": model.name,
            "load_average": os.getloadavg()[0],
            "rows": [asdict(row) for row in rows],
        }
        out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
