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
    """Return the processes with a word among the first three of their command."""
    return [each for each in psutil.process_iter() if word in words_of(each)[:3]]


def words_of(process: psutil.Process) -> list[str]:
    """Return a process's command; nothing if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []
