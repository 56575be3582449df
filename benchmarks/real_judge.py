"""A real LLM as judge: how many groups come back ranked from SmolLM2-135M on vLLM, on the CPU.

    python -m benchmarks.real_judge FILE.jsonl --vllm-python PYTHON --model DIR [--num 20]

FILE holds groups in wire form (`python -m benchmarks.groups intercode-sql PATH`). The ranking is
poor, as the model is; what counts is that replies parse, through a real server with guided
decoding, and that the rest are typed failures that say why.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.service import machine
from service.batch import rank_line
from service.schemas import BatchLine
from service.server import open_service
from tests.integration.vllm_server import vllm_server

JUDGES = """\
default_judge: main
judges:
  main: {{model: judge, base_urls: ["{url}"], passes: {passes}, temperature: 0.7, timeout_s: 3000}}
"""


def main(
    file: Path,
    vllm_python: Annotated[Path, typer.Option()],
    model: Annotated[Path, typer.Option(help="Made by python -m trainer_client.smollm2.")],
    num: int = 20,
    passes: int = 1,
    max_model_len: int = 8192,
) -> None:
    """Rank the first NUM groups of FILE and say what became of each."""
    groups = [json.loads(line) for line in file.read_text().splitlines()[:num]]
    with vllm_server(vllm_python, model, max_model_len=max_model_len) as url:
        started = time.perf_counter()
        lines = asyncio.run(rank_all(url, groups, passes))
        wall_s = time.perf_counter() - started
    ranked = [line.ranking for line in lines if line.ranking]
    failures = Counter(line.problem.code for line in lines if line.problem)
    calls = sum(ranking.usage.calls for ranking in ranked)
    print(json.dumps(machine()))
    print(f"{len(ranked)} of {len(lines)} groups ranked, {calls} calls, {wall_s:.0f} s")
    for code, count in failures.items():
        print(f"  {count} x {code}")
    for line in lines:
        if line.problem:
            print(f"  {line.group_id}: {line.problem.detail}")


async def rank_all(url: str, groups: list[object], passes: int) -> list[BatchLine]:
    """All at once: the server batches them."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "judges.yaml"
        config.write_text(JUDGES.format(url=url, passes=passes))
        async with open_service(config, f"{folder}/podium.db") as service:
            ranked = (rank_line(service.ranker, i, g, 3600) for i, g in enumerate(groups))
            return list(await asyncio.gather(*ranked))


if __name__ == "__main__":
    typer.run(main)
