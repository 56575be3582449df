"""The demo with a real judge: two steps with the smallest model that the package index carries."""

import subprocess
import sys
from pathlib import Path

import pytest

from podium_trainer.records.metrics import read_rows
from tests.integration.conftest import need

pytestmark = pytest.mark.judge
LIMIT_S = 900


def test_a_policy_is_trained_on_what_a_real_judge_says(models_dir: Path, tmp_path: Path) -> None:
    demo = [sys.executable, "-P", "-m", "podium_trainer.run.demo_judge"]
    judge = next(models_dir.glob("*0.5b*.gguf"))
    options = ["--judge-model", str(judge), "--judge-threads", "1", "--steps", "2"]
    short = ["--rollout.prompts_per_step", "2", "--eval.samples", "1", "--eval.every", "2"]
    done = subprocess.run(
        [*demo, "--model", str(need("PODIUM_SMOLLM2")), *options, *short],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    if "cannot be loaded" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(tmp_path / "runs/demo-judge/metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert all(row["groups_failed"] == 0 for row in rows)
    assert rows[-1]["policy_version"] > 0
    assert rows[-1]["held_out"] is not None
