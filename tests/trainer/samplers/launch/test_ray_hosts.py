"""What runs on a machine of a Ray cluster, and when a run is over, without Ray.

tests/integration/test_ray.py has the same on a real cluster.
"""

import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.cluster import require_ray
from podium_trainer.samplers.launch.cluster.host import End, Host, Task
from podium_trainer.samplers.launch.cluster.verdict import first_fault, verdict
from tests.service.process import has_ended, wait

SHOW = "import os, sys; print(*sys.argv[1:], *(os.environ.get(n) for n in ('A', 'B', 'C')))"


def task(folder: Path, *command: str, **settings: str) -> Task:
    own = {"A": "needed"} | settings
    return Task(command, str(folder / "made/log"), own, {"A": "x", "B": "carried", "C": "x"})


def test_a_server_gets_its_address_and_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C", "of the machine")
    host = Host()
    host.serve(task(tmp_path, sys.executable, "-c", SHOW), ("10.0.0.7", 8123))
    assert host.watch().status == 0
    line = b"--host=10.0.0.7 --port=8123 needed carried of the machine\n"
    assert [host.read(0), host.read(0)] == [line, line]  # again, if an answer was lost
    assert host.read(50) == line[50:]
    assert host.read(len(line)) == b""


def test_a_rank_runs_in_its_folder_and_meets_rank_0(tmp_path: Path) -> None:
    own = "import os; print(os.getcwd(), os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'])"
    (tmp_path / "own.py").write_text(own)
    host = Host()
    path = {"PYTHONPATH": str(tmp_path)}
    of_run = Task(["own"], str(tmp_path / "log"), path, folder=str(tmp_path))
    host.join(of_run, ("10.0.0.7", 29500))
    assert host.watch().status == 0
    assert host.read(0).decode() == f"{tmp_path} 10.0.0.7 29500\n"


def test_a_process_is_watched_until_it_is_stopped(tmp_path: Path) -> None:
    host = Host()
    ends: list[End] = []
    watching = threading.Thread(target=lambda: ends.append(host.watch()))
    watching.start()
    code = "import time; print('up', flush=True); time.sleep(600)"
    host.serve(task(tmp_path, sys.executable, "-c", code), ("127.0.0.1", 1))
    wait(lambda: b"up" in host.read(0))
    host.stop()
    watching.join(20)
    [end] = ends
    assert end.status == 128 + signal.SIGTERM
    assert end.fault == f"has ended with status 143: up (its log: {tmp_path}/made/log)"


def test_a_process_outlives_a_kill_of_all_children_and_ends(tmp_path: Path) -> None:
    """Ray's workers end their children by SIGKILL before they end themselves."""
    code = f"""\
import os, sys, time
from podium_trainer.samplers.launch.cluster.host import Host, Task
host = Host()
command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
host.serve(Task(command, {str(tmp_path / "log")!r}, {{}}), ("127.0.0.1", 1))
while not (pid := host.read(0)):
    time.sleep(0.01)
import psutil
for child in psutil.Process().children(recursive=True):
    child.kill()
os.write(1, pid)
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout, done.stderr
    pid = int(done.stdout)
    wait(lambda: not psutil.pid_exists(pid) or has_ended(psutil.Process(pid)))


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    host = Host()
    host.serve(task(tmp_path, "x"), ("127.0.0.1", 1))
    end = host.watch()
    assert end.status is None
    assert end.fault.startswith("cannot be started: ")
    host.stop()


OVER: list[tuple[list[int | str | None], bool, int | None]] = [
    # the status of each rank, "lost" or None while it runs; whether the start is sound; the verdict
    ([0], True, 0),
    ([1], True, 1),
    ([1], False, None),  # such as a lock that the rank before has left
    ([2], False, 2),
    ([130], True, 130),
    ([137], True, None),
    (["lost"], True, None),
    ([0, 1], True, 0),
    ([1, 0], True, 1),
    ([1, 1], True, None),
    ([1, "lost"], True, None),
    ([None, "lost"], True, None),
    ([2, 2], True, 2),
]


def end_of(status: int | str | None) -> End | None:
    if status is None:
        return None
    number = None if status == "lost" else int(status)
    return End(number, f"has ended with {status}")


@pytest.mark.parametrize(("ranks", "is_sound", "status"), OVER)
def test_a_run_is_over_when_rank_0_says_so(
    ranks: list[int | str | None], is_sound: bool, status: int | None
) -> None:
    assert verdict([end_of(each) for each in ranks], is_sound=is_sound) == status


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ([1, "lost"], "rank 1 has ended with lost"),
        ([137, 1], "rank 0 has ended with 137"),
        ([None, 1], "rank 1 has ended with 1"),
        ([None, 0], "the ranks have ended one by one"),
    ],
)
def test_who_was_lost_is_named_before_who_noticed(ranks: list[int | str], words: str) -> None:
    assert first_fault([end_of(each) for each in ranks]) == words


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster_that_fails_later_is_one_line() -> None:
    from ray.exceptions import RaySystemError

    from podium_trainer.samplers.launch.cluster.connection import told_in_a_line

    with pytest.raises(SamplerError) as caught, told_in_a_line("auto"):
        raise RaySystemError("the head\nis gone")
    assert str(caught.value) == (
        "--ray auto: the cluster cannot be used any more (System error: the head is gone): start"
        " again with --resume"
    )


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_a_line_says_what_to_install() -> None:
    with pytest.raises(
        SamplerError, match=r"^--ray: .*in the clone run pip install '\.\[trainer,ray\]'$"
    ):
        require_ray()
