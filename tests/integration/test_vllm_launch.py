"""A run that starts a real vLLM server: it is killed in mid-run, comes back, and ends with it."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from podium_trainer.samplers.launch import guard
from tests.integration.conftest import need
from tests.integration.test_vllm_training import JUDGE
from tests.integration.vllm_server import SERVER_ENVIRONMENT
from tests.service.process import has_ended, running
from tests.trainer.runs import Recorder, train

pytestmark = pytest.mark.vllm


class KillsOnce(Recorder):
    """A watcher that kills the server when the rollout of the second step begins."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[psutil.Process] = []
        self.came_back_s = 0.0

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == "rollout" and len(self.rows) == 2 and not self.killed:
            self.killed = servers()
            os.kill(self.killed[0].pid, signal.SIGKILL)
            self.came_back_s = -time.monotonic()

    def note(self, text: str) -> None:
        super().note(text)
        if text.endswith(" is ready"):
            self.came_back_s += time.monotonic()


def servers() -> list[psutil.Process]:
    """Return the servers that a run of this process has started, and what they have started.

    Servers of other tests may still run.
    """
    children = [
        each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE
    ]
    guards = [each for each in children if guard.__file__ in each.cmdline()]
    return [each for one in guards for each in one.children(recursive=True)]


def test_a_server_that_the_run_has_started_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "judges.yaml").write_text(JUDGE)
    watcher = KillsOnce()
    with running("--config", "judges.yaml", cwd=tmp_path) as service:
        train(
            {
                "model": {
                    "path": str(need("PODIUM_SMOLLM2")), "autocast": False, "lora": {"rank": 8},
                },
                "task": {"name": "addition"},
                "out": str(tmp_path / "run"),
                "steps": 3,
                "service": {"url": service.url},
                "sampler": {
                    "kind": "vllm", "launch": True, "max_tokens": 4,
                    "vllm": {
                        "python": str(need("PODIUM_VLLM_PYTHON")),
                        "options": {
                            "dtype": "float32", "enforce-eager": True, "max-model-len": 2048,
                        },
                    },
                },
                "rollout": {"prompts_per_step": 2, "max_refills": 5, "max_staleness": 0},
                "optimizer": {"lr": 1e-3, "warmup_steps": 0},
                "eval": {"every": 0},
            },
            watcher=watcher,
        )  # fmt: skip
    rows = watcher.rows[1:]
    assert [row["policy_version"] for row in rows] == [1, 2, 3]
    assert [row["max_ratio"] for row in rows] == pytest.approx([1.0] * 3, abs=1e-2)
    assert all(map(has_ended, watcher.killed))
    assert servers() == []
    print(f"\nback {watcher.came_back_s:.0f} s after it was killed", *watcher.notes, sep="\n")
