"""The process between a run and its server: the server ends with the run, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from podium_trainer.samplers.launch import guard
from podium_trainer.samplers.launch.child import Child
from tests.service.process import has_ended, wait

# It starts another process and waits, as vLLM does with its engine.
SERVER = """\
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("serving", flush=True)
time.sleep(600)
"""
COMMAND = [sys.executable, "-c", SERVER]


def group(pid: int) -> list[psutil.Process]:
    """Return the process and its children, once there are two."""
    leader = psutil.Process(pid)
    wait(lambda: len(leader.children()) == 1)
    return [leader, *leader.children()]


def start(tmp_path: Path, *command: str) -> Child:
    return Child(command, os.environ, tmp_path / "log")


def test_a_stopped_server_ends_with_its_children(tmp_path: Path) -> None:
    child = start(tmp_path, *COMMAND)
    assert child.pid
    processes = group(child.pid)
    child.stop()
    child.wait()
    wait(lambda: all(map(has_ended, processes)))
    assert child.status == 128 + signal.SIGTERM


def test_a_server_ends_when_the_run_is_killed() -> None:
    run = f"""\
import subprocess, sys
command = [sys.executable, {guard.__file__!r}, "child", "9", sys.executable, "-c", {SERVER!r}]
subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL).wait()
"""
    with subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        processes = group(int(killed.stdout.readline()))
        killed.kill()
        wait(lambda: all(map(has_ended, processes)))


def test_a_detached_server_is_ended_by_whom_started_it(tmp_path: Path) -> None:
    child = Child(COMMAND, os.environ, tmp_path / "log", is_detached=True)
    assert child.pid
    processes = group(child.pid)
    own = psutil.Process().children(recursive=True)
    assert not {each.pid for each in processes} & {each.pid for each in own}
    child.stop()
    child.wait()
    assert child.status == 128 + signal.SIGTERM
    wait(lambda: all(map(has_ended, processes)))


def test_a_server_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    child = start(tmp_path, *COMMAND)
    assert child.pid
    processes = group(child.pid)
    parent = processes[0].parent()
    assert parent
    parent.kill()
    wait(lambda: child.status is not None)
    assert child.status == 128 + signal.SIGKILL
    wait(lambda: all(map(has_ended, processes)))


def test_the_children_of_a_server_that_dies_are_ended(tmp_path: Path) -> None:
    child = start(tmp_path, *COMMAND)
    assert child.pid
    processes = group(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    wait(lambda: all(map(has_ended, processes)))
    wait(lambda: child.status is not None)
    assert child.status == 128 + signal.SIGKILL


def test_a_server_that_is_halted_can_be_stopped(tmp_path: Path) -> None:
    child = start(tmp_path, *COMMAND)
    assert child.pid
    group(child.pid)
    os.kill(child.pid, signal.SIGSTOP)
    started = time.monotonic()
    child.stop()
    child.wait()
    assert time.monotonic() - started < guard.GRACE_S


DEAF = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
)


@pytest.mark.restart  # takes the ten seconds that it is about
def test_a_deaf_command_does_not_outlive_a_lost_run_for_long() -> None:
    command = [sys.executable, guard.__file__, "child", "600", sys.executable, "-c", DEAF]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as lost:
        assert lost.stdin
        assert lost.stdout
        assert lost.stderr
        lost.stdout.readline()
        lost.stderr.readline()  # from now on it ignores SIGTERM
        lost.stdin.close()
        assert lost.stdout.read() == b"137\n"


def test_ctrl_c_reaches_the_run_alone(tmp_path: Path) -> None:
    child = start(tmp_path, *COMMAND)
    assert child.pid
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    assert os.getsid(child.pid) != os.getsid(0)
    child.stop()
    child.wait()


def test_a_command_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    child = start(tmp_path, "/no/such/python", "-m", "vllm")
    assert child.pid is None
    wait(lambda: child.status is not None)
    assert child.why_ended() == (
        f"error: /no/such/python cannot be run: No such file or directory (its log:"
        f" {tmp_path / 'log'})"
    )


LOGS = [
    ("starting\nValueError: no room for 4 blocks\n", "ValueError: no room for 4 blocks"),
    (
        "(EngineCore pid=7) ERROR 11-30 [core.py:1] torch.OutOfMemoryError: CUDA out of memory\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n",
        "OutOfMemoryError: CUDA out of memory",
    ),
    ("usage: ...\napi_server.py: error: unrecognized --x\n", "error: unrecognized --x"),
    ("line one\nline two\n\n", "line two"),
    ("", "no output"),
]


@pytest.mark.parametrize(("log", "reason"), LOGS)
def test_the_line_that_says_why_is_found(tmp_path: Path, log: str, reason: str) -> None:
    (tmp_path / "log").write_text("ValueError: of an earlier start\n")
    child = start(tmp_path, sys.executable, "-c", f"print({log!r}, end='')")
    wait(lambda: child.status is not None)
    assert child.why_ended() == f"{reason} (its log: {tmp_path / 'log'})"
