"""Servers on the machines of a real Ray cluster: one is lost in mid-run, and the run goes on."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from podium_trainer.records.metrics import Row, read_rows
from tests.integration.ray_cluster import RayCluster, processes, ray_cluster, words_of
from tests.service.process import has_ended, running, wait
from tests.trainer.fake_vllm import FakeVllm, by_prompt
from tests.trainer.run.test_servers import vllm_python
from tests.trainer.runs import settings, start_process, train, write_judges
from tests.trainer.samplers.launch import fake_server

pytestmark = pytest.mark.restart

STEPS = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as opened:
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
        rollout={"prompts_per_step": 3, "group_size": 4, "max_staleness": 0},
    )  # fmt: skip


def launched(folder: Path) -> dict[str, Any]:
    """Settings of two servers without a model, both of which a step needs."""
    options = {"draws": "by-prompt"}
    return {
        "launch": True, "servers": 2, "min_servers": 2,
        "vllm": {"python": str(vllm_python(folder)), "options": options},
    }  # fmt: skip


def servers() -> list[psutil.Process]:
    """Return the servers' processes, and those that they have started."""
    leaders = processes(fake_server.__file__)
    return [each for leader in leaders for each in (leader, *leader.children())]


def actors() -> list[psutil.Process]:
    """Return the processes of Ray that each hold one of ours."""
    return [each for each in psutil.process_iter() if "ray::Host" in "".join(words_of(each)[:1])]


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


def said(run: subprocess.Popen[bytes], folder: Path) -> str:
    return f"exit status {run.returncode}\n{(folder / 'train.log').read_text()}"


def test_a_lost_machines_server_comes_back_on_another(
    tmp_path: Path, service_url: str, cluster: RayCluster
) -> None:
    cluster.add(num_cpus=1)
    cluster.add(num_cpus=1)
    recipe = recipe_for(tmp_path, service_url, **launched(tmp_path))
    run = start_process(recipe, tmp_path, "--ray", cluster.address)
    wait(lambda: len(rows_of(tmp_path)) > 2 or run.poll() is not None)
    first = processes(fake_server.__file__)
    assert len({each.environ()["RAY_RAYLET_PID"] for each in first}) == 2, said(run, tmp_path)
    lost = [first[0], *first[0].children()]
    cluster.lose_node_of(first[0])
    wait(lambda: all(map(has_ended, lost)))
    cluster.add(num_cpus=1)
    assert run.wait(60) == 0, said(run, tmp_path)
    assert "is lost: " in said(run, tmp_path)
    assert learnt(rows_of(tmp_path)) == unbroken(tmp_path / "unbroken", service_url)
    assert servers() == []

    # The same cluster; a run that is stopped by Ctrl-C takes all its actors and servers with it.
    more = ("--ray", cluster.address, "--resume", "--steps", "100000")
    run = start_process(recipe, tmp_path, *more)
    wait(lambda: len(rows_of(tmp_path)) > STEPS + 3 or run.poll() is not None)
    ending = servers() + actors()
    assert len(ending) >= 6, said(run, tmp_path)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130, said(run, tmp_path)
    wait(lambda: all(map(has_ended, ending)))
