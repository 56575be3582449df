"""A real Ray cluster on this machine: a head without room, and nodes that come and go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

STORE_BYTES = 80 * 2**20  # Ray takes no less than 75 MiB


class RayCluster:
    """Nodes that each stand for a machine.

    Attributes:
        address: HOST:PORT of the head.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address

    def add(self, num_cpus: int) -> None:
        """Add a node."""
        self._cluster.add_node(num_cpus=num_cpus, object_store_memory=STORE_BYTES)

    def lose_node_of(self, process: psutil.Process) -> None:
        """Kill the node that a process runs on."""
        raylet = int(process.environ()["RAY_RAYLET_PID"])
        [node] = [
            each
            for each in self._cluster.worker_nodes
            if each.all_processes["raylet"][0].process.pid == raylet
        ]
        self._cluster.remove_node(node, allow_graceful=False)


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Start a cluster; where Ray is not installed, the test is skipped, but fails in CI."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("Ray is not installed: pip install -e '.[dev]'")
    # Not in pytest's folder, because paths of sockets must be short.
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "ray").mkdir()
        os.environ["RAY_TMPDIR"] = folder
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES,
            },
        )  # fmt: skip
        try:
            yield RayCluster(cluster)
        finally:
            cluster.shutdown()
            del os.environ["RAY_TMPDIR"]


def processes(word: str) -> list[psutil.Process]:
    """Return what the nodes run with a word among the first four of its command; no guards."""
    return [each for each in psutil.process_iter() if is_on_a_node(each, word)]


def is_on_a_node(process: psutil.Process, word: str) -> bool:
    """Return whether a process of that command runs, and was started by a node."""
    try:
        return word in process.cmdline()[:4] and "RAY_RAYLET_PID" in process.environ()
    except psutil.Error:  # it has ended
        return False


def actors() -> list[psutil.Process]:
    """Return the processes of Ray that each hold one of ours."""
    return [each for each in psutil.process_iter() if each.name().startswith("ray::Host")]
