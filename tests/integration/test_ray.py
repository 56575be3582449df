"""A run on a real Ray cluster loses machines, goes on, and ends as if it had lost none."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from podium_trainer.records.metrics import Row, read_rows
from podium_trainer.samplers.launch.cluster.ranks import newest_checkpoint
from tests.integration.ray_cluster import RayCluster, actors, processes, ray_cluster
from tests.service.process import has_ended, running, wait
from tests.trainer.fake_vllm import FakeVllm, by_prompt
from tests.trainer.run.test_servers import vllm_python
from tests.trainer.runs import settings, start_process, train, write_judges
from tests.trainer.samplers.launch import fake_server

pytestmark = pytest.mark.restart

STEPS = 24
LIMIT_S = 150.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Yield a cluster with room for a rank and two servers."""
    with ray_cluster() as opened:
        for _ in range(3):
            opened.add(num_cpus=1)
        yield opened


@pytest.fixture(scope="module")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with running("--config", str(write_judges(folder)), cwd=folder) as podium:
        assert podium.url
        yield podium.url


def recipe_for(folder: Path, service: str, **sampler: Any) -> dict[str, Any]:
    sampler = {"kind": "vllm", "parity_bound": 1e3, "max_tokens": 4} | sampler
    return settings(
        folder, service, steps=STEPS, sampler=sampler,
        rollout={"prompts_per_step": 2, "group_size": 4, "max_staleness": 0},
        checkpoint={"every": 2},
    )  # fmt: skip


def launched(folder: Path) -> dict[str, Any]:
    """Return settings of two servers without a model, both of which a step needs."""
    options = {"draws": "by-prompt"}
    return {
        "launch": True, "servers": 2, "min_servers": 2,
        "vllm": {"python": str(vllm_python(folder)), "options": options},
    }  # fmt: skip


def servers() -> list[psutil.Process]:
    """Return the servers' processes, and those that they have started."""
    leaders = processes(fake_server.__file__)
    return [each for leader in leaders for each in (leader, *leader.children())]


def rows_of(folder: Path) -> list[Row]:
    return list(read_rows(folder / "run/metrics.jsonl"))


def learnt(rows: list[Row]) -> list[Row]:
    """Return the rows without what only tells how many servers there were."""
    return [{name: row[name] for name in row if name != "servers_ready"} for row in rows]


def unbroken(folder: Path, service: str) -> list[Row]:
    """Run the same recipe in this process, with one server that is never lost."""
    folder.mkdir()
    fake = FakeVllm()
    fake.draw = by_prompt
    with fake.serving():
        train(recipe_for(folder, service, urls=[fake.url]))
    return learnt(rows_of(folder))


class Run:
    """A run in a process of its own, which is killed at the end of a `with` block."""

    def __init__(self, recipe: dict[str, Any], folder: Path, *flags: str) -> None:
        self._folder = folder
        self._process = start_process(recipe, folder, *flags)

    @property
    def said(self) -> str:
        """Its output."""
        return (self._folder / "train.log").read_text()

    @property
    def is_on(self) -> bool:
        return self._process.poll() is None

    def wait_for_rows(self, count: int) -> None:
        self.wait_until(lambda: len(rows_of(self._folder)) >= count)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + LIMIT_S
        while not condition():
            assert self.is_on, self.said
            assert time.monotonic() < ends_at, self.said
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Wait for its end, and return its exit status."""
        try:
            return self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it still runs: {self.said}")


def test_a_run_that_loses_machines_ends_as_one_that_does_not(
    tmp_path: Path, service_url: str, cluster: RayCluster
) -> None:
    recipe = recipe_for(tmp_path, service_url, **launched(tmp_path))
    with Run(recipe, tmp_path, "--ray", cluster.address) as run:
        run.wait_for_rows(3)
        [trainer], [server, _] = processes("podium_trainer"), processes(fake_server.__file__)

        lost = [server, *server.children()]
        cluster.lose_node_of(server)
        wait(lambda: all(map(has_ended, lost)))
        assert run.is_on
        cluster.add(num_cpus=1)
        run.wait_for_rows(len(rows_of(tmp_path)) + 3)
        assert not has_ended(trainer)  # the run waited for its second server, and went on

        lost = [trainer, *servers()]
        cluster.lose_node_of(trainer)
        cluster.add(num_cpus=1)
        assert run.wait() == 0, run.said
    assert all(map(has_ended, lost))
    assert "rank 0 is lost: " in run.said
    assert learnt(rows_of(tmp_path)) == unbroken(tmp_path / "unbroken", service_url)
    assert processes(fake_server.__file__) == []


def test_ctrl_c_ends_all_actors_and_their_processes(
    tmp_path: Path, service_url: str, cluster: RayCluster
) -> None:
    recipe = recipe_for(tmp_path, service_url, **launched(tmp_path))
    flags = ("--ray", cluster.address, "--steps", "100000")
    with Run(recipe, tmp_path, *flags) as run:
        run.wait_until(lambda: newest_checkpoint(tmp_path / "run") != "")
        ending = [*processes("podium_trainer"), *servers(), *actors()]
        assert len(ending) == 8, ending
        run.interrupt()
        assert run.wait() == 130, run.said
        assert "podium-train: stopped; --resume goes on from step-" in run.said
        wait(lambda: all(map(has_ended, ending)))
