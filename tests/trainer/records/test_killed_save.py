"""A process that is killed while it saves a checkpoint leaves a whole one, the old or the new."""

import subprocess
import sys
from pathlib import Path


def test_a_kill_at_any_file_operation_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.trainer.records.killed_save", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
