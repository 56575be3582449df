"""`make demo-rank` in an empty folder, and the command that it prints at the end."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.demo
def test_the_demo_prints_a_replay_command_that_works(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "200"}
    demo = subprocess.run(
        [sys.executable, "-P", "-m", "podium_service.cli.demo"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    assert "looks-then-cancels" in demo.stdout
    command = demo.stdout.rpartition("Look at it again: ")[2]
    replay = subprocess.run(
        shlex.split(command),
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    assert "looks-then-cancels" in replay.stdout
