"""A real model is trained in a game of several turns, by the shipped recipe."""

import subprocess
import sys
from pathlib import Path

import pytest

from podium_trainer.records.metrics import read_rows
from tests.integration.conftest import need
from tests.service.process import running

pytestmark = pytest.mark.demo


def test_smollm2_plays_and_learns_from_a_game(tmp_path: Path) -> None:
    model = need("PODIUM_SMOLLM2")
    with running(cwd=tmp_path) as service:
        assert service.url
        command = [
            sys.executable, "-P", "-m", "podium_trainer", "guess", "--model", str(model),
            "--service", service.url, "--out", str(tmp_path / "run"), "--steps", "1",
            "--rollout.prompts_per_step", "2", "--rollout.group_size", "4", "--eval.every", "0",
            "--eval.win_rate.prompts", "0",
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=tmp_path, timeout=300)
    [first, last] = read_rows(tmp_path / "run/metrics.jsonl")
    assert first["policy_version"] == 0
    assert last["policy_version"] == 1
    assert last["turns"] > 1
    assert last["attempts_failed"] == 0
