"""Names of processes, by which an ended process is recognised."""

import os
import subprocess
import sys

from podium_service.store.claims.process_liveness import find_ended, machine_id, process_name


def test_an_ended_process_of_this_machine_is_found() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    ended = f"{machine_id()}-{child.pid}-0123456789ab"
    elsewhere = f"00000000-{child.pid}-0123456789ab"
    running = f"{machine_id()}-{os.getppid()}-ab"
    own = process_name()
    assert len(own) <= 32
    assert find_ended([own, ended, elsewhere, running], own) == [ended]
