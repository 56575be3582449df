"""Servers that a run starts itself: they come up, are started again, and end with the run."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.launcher import Launcher, answers
from podium_trainer.samplers.launch.plan import ServerPlan
from podium_trainer.samplers.launch.started import HOST, StartedHere
from tests.service.process import has_ended, wait
from tests.trainer.samplers.launch import fake_server
from tests.trainer.samplers.vllm_sampling import one_line


def plans(folder: Path, *flags: tuple[str, ...]) -> list[ServerPlan]:
    """Plan one server for each tuple of flags."""
    return [
        ServerPlan(
            [sys.executable, fake_server.__file__, *more],
            folder / f"servers/server-{number}.log",
        )
        for number, more in enumerate(flags)
    ]


@contextmanager
def launching(
    servers: list[ServerPlan], notes: list[str], *, start_s: float = 60.0, hang_s: float = 60.0
) -> Iterator[Launcher]:
    with Launcher(
        servers, start_s=start_s, note=notes.append, look_every_s=0.05, hang_s=hang_s
    ) as opened:
        yield opened


def pid_of(launcher: Launcher, place: int) -> int | None:
    started = launcher.servers[place].started
    assert started is None or isinstance(started, StartedHere)
    return started.pid if started else None


def is_up(launcher: Launcher, place: int, *, other_than: int | None) -> bool:
    return launcher.servers[place].is_up and pid_of(launcher, place) != other_than


def family(launcher: Launcher) -> list[psutil.Process]:
    """Return the processes of all servers, with their children."""
    leaders = [psutil.Process(pid_of(launcher, place)) for place in range(len(launcher.servers))]
    return [process for leader in leaders for process in (leader, *leader.children())]


def test_servers_answer_in_the_block_and_end_with_it(tmp_path: Path) -> None:
    with launching(plans(tmp_path, (), ()), []) as launcher:
        for url in launcher.urls:
            assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 200
        processes = family(launcher)
        assert len(processes) == 4
    wait(lambda: all(map(has_ended, processes)))


def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    notes: list[str] = []
    told: list[tuple[int, str]] = []
    with launching(plans(tmp_path, (), ()), notes) as launcher:
        before = launcher.urls
        first = pid_of(launcher, 0)
        assert first
        with launcher.telling(lambda *news: told.append(news), known=before):
            os.kill(first, signal.SIGKILL)
            wait(lambda: len(told) == 1)
        assert launcher.urls[1] == before[1]
        assert told == [(0, launcher.urls[0])]
        assert httpx.get(f"{launcher.urls[0]}/health", trust_env=False).status_code == 200
        [note] = notes
        assert note.startswith(
            f"vLLM server {before[0]} has ended with status 137: it was killed, "
        )
        assert note.endswith("; it is started again")


def test_a_server_that_moved_before_anyone_asked_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []
    with launching(plans(tmp_path, ()), []) as launcher:
        with launcher.telling(lambda *news: told.append(news), known=["http://127.0.0.1:1"]):
            wait(lambda: len(told) == 1)
        assert told == [(0, launcher.urls[0])]


def test_a_server_whose_log_is_removed_is_started_again(tmp_path: Path) -> None:
    notes: list[str] = []
    with launching(plans(tmp_path, ()), notes) as launcher:
        first = pid_of(launcher, 0)
        assert first
        launcher.servers[0].plan.log.unlink()
        os.kill(first, signal.SIGTERM)
        wait(lambda: is_up(launcher, 0, other_than=first))
    assert "cannot be read: No such file or directory" in notes[0]


def test_a_look_at_a_server_that_fails_is_not_the_last(tmp_path: Path) -> None:
    notes: list[str] = []

    def fail(*news: object) -> None:
        raise RuntimeError("the portal\nis closed")

    with launching(plans(tmp_path, ()), notes) as launcher:
        first = pid_of(launcher, 0)
        with launcher.telling(fail, known=["http://127.0.0.1:1"]):
            wait(lambda: len(notes) == 1)
        assert first
        os.kill(first, signal.SIGKILL)
        wait(lambda: is_up(launcher, 0, other_than=first))
    failure = "the watch of the vLLM servers has met RuntimeError: the portal is closed; it goes on"
    assert notes[0] == failure


def test_nobody_gets_the_port_of_a_server_that_loads(tmp_path: Path) -> None:
    [plan] = plans(tmp_path, ("--load=0.5",))
    started = StartedHere(plan)
    try:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, int(started.url.rsplit(":", 1)[1])))
        with httpx.Client(trust_env=False) as http:
            wait(lambda: answers(http, f"{started.url}/health"))
    finally:
        started.stop()
        started.wait()


def test_a_server_that_hangs_is_started_again(tmp_path: Path) -> None:
    notes: list[str] = []
    with launching(plans(tmp_path, ()), notes, hang_s=0.5) as launcher:
        first = pid_of(launcher, 0)
        assert first
        os.kill(first, signal.SIGSTOP)
        wait(lambda: any("has not answered for 0.5 s" in note for note in notes))
        wait(lambda: pid_of(launcher, 0) not in (None, first))
        assert has_ended(psutil.Process(first)) if psutil.pid_exists(first) else True


def test_a_server_that_fails_at_once_is_one_line(tmp_path: Path) -> None:
    servers = plans(tmp_path, (), ("--fail=ValueError: no room",))
    with pytest.raises(SamplerError) as caught, launching(servers, []):
        pytest.fail("it came up")
    message = re.sub(r"http://127\.0\.0\.1:\d+", "URL", one_line(caught))
    assert message == (
        "the vLLM server URL has ended with status 3: ValueError: no room (its log:"
        f" {servers[1].log})"
    )


def test_a_server_that_does_not_come_up_ends_at_the_limit(tmp_path: Path) -> None:
    [plan] = plans(tmp_path, ())
    silent = ServerPlan([sys.executable, "-c", "import time; time.sleep(600)"], plan.log)
    started = time.monotonic()
    with (
        pytest.raises(SamplerError, match=r"not answered for 0\.3 s = sampler\.vllm\.start_s"),
        launching([silent], [], start_s=0.3),
    ):
        pytest.fail("it came up")
    assert time.monotonic() - started < 20


def test_no_server_is_started_while_starts_are_held(tmp_path: Path) -> None:
    with launching(plans(tmp_path, ()), []) as launcher:
        first = pid_of(launcher, 0)
        with launcher.starting_none():
            launcher.end(0)
            time.sleep(1.3)  # longer than the wait before a start
            assert launcher.servers[0].started is None
        wait(lambda: is_up(launcher, 0, other_than=first))


def test_a_server_is_no_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "KEPT"):
        monkeypatch.setenv(name, "1")
    show = "import os; print(*(n for n in sorted(os.environ) if os.environ[n] == '1'))"
    plan = ServerPlan([sys.executable, "-c", show], tmp_path / "log", {"ADDED": "1"})
    started = StartedHere(plan)
    wait(lambda: started.fault is not None)
    started.wait()
    assert {"ADDED", "KEPT"} <= set(plan.log.read_text().split())
    assert "RANK" not in plan.log.read_text()
    assert "TORCHELASTIC" not in plan.log.read_text()
