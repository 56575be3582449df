"""The whole road: a real model, a real service, and an LLM judge over HTTP that is noisy."""

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import pytest
import yaml

from podium_trainer.records.metrics import read_rows
from podium_trainer.run.cli import run
from tests.fakes import Answer, Asked, ScriptedJudge, Step, says
from tests.integration.conftest import need
from tests.service.process import running

pytestmark = pytest.mark.vllm  # it needs the model that those tests need
NOISE_SD, SLOT_BIAS, GRID = 0.2, 0.15, 20


def noisy(seed: int) -> Step:
    """Score right answers .7 and others .3, plus noise and a liking for what is shown early."""
    seen = Counter[str]()

    def step(asked: Asked) -> Answer:
        shown = repr(list(asked.shown.values()))
        seen[shown] += 1
        draw = random.Random(f"{seed} {seen[shown]} {shown}")  # not by which call is first
        reference = re.search(r"<reference[^>]*>\s*(\S+)\s*</reference", asked.text)
        assert reference, asked.text
        verdict = {}
        for slot, (shown_id, text) in enumerate(asked.shown.items()):
            [said] = re.findall(r'<message role="assistant">\n(.*?)\n</message>', text, re.DOTALL)
            score = 0.7 if said.strip() == reference[1] else 0.3
            score += draw.gauss(0, NOISE_SD) + SLOT_BIAS * (0.5 - slot / len(asked.shown))
            score = round(min(1, max(0, score)) * GRID) / GRID
            verdict[shown_id] = {"explanation": f"it says {said[:40]}", "score": score}
        return says(json.dumps(verdict))(asked)

    return step


@contextmanager
def serving(judge: ScriptedJudge) -> Iterator[str]:
    """Yield the judge on an event loop of its own, so that training may block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = judge.serving()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield judge.url
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_policy_learns_from_a_noisy_llm_judge(tmp_path: Path) -> None:
    judge = ScriptedJudge(always=noisy(seed=1))
    with serving(judge) as judge_url:
        llm = {"model": "m", "base_urls": [judge_url], "passes": 4}
        config = {"default_judge": "main", "judges": {"main": llm}}
        (tmp_path / "judges.yaml").write_text(yaml.safe_dump(config))
        with running("--config", "judges.yaml", cwd=tmp_path) as service:
            assert service.url
            status = run([
                "addition", "--model", str(need("PODIUM_SMOLLM2")), "--service", service.url,
                "--out", str(tmp_path / "run"), "--steps", "20", "--eval.every", "20",
                "--rollout.max_refills", "1",
            ])  # fmt: skip
    assert status == 0
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert sum(row["groups_failed"] for row in rows) == 0
    # Four calls for each group that is not the same as an earlier one, those of the win rate too.
    most = sum(row["groups"] + (row["win_rate_prompts"] or 0) for row in rows)
    assert 4 * len(rows) < judge.calls <= 4 * most
    reliability = [row["reliability"] for row in rows[1:]]
    assert min(reliability) >= 0
    assert max(reliability) <= 1
    assert fmean(reliability) < 0.6  # it is noisy, and known to be; of 8 groups it may be more
    assert rows[-1]["held_out"] > 2 * rows[0]["held_out"]
