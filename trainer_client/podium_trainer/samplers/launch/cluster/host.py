"""The actor that runs one process on the machine that Ray has placed it on.

The process ends when the actor does: after `stop`, after a kill, or when the run that owns the
actor has ended, however that ends.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from podium_trainer.samplers.launch.child import POLL_S, Child, Port
from podium_trainer.samplers.launch.guard import GRACE_S

Address = tuple[str, int]


@dataclass(frozen=True)
class Task:
    """A process that a host is to run.

    Attributes:
        command: the program and its arguments.
        log: the path of the file that gets its output.
        environment: the variables that it needs.
        carried: variables that it gets unless its machine has them.
        folder: where it runs; None for anywhere.
        grace_s: the seconds that it has to end itself.
    """

    command: Sequence[str]
    log: str
    environment: Mapping[str, str]
    carried: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    grace_s: float = GRACE_S


class End(NamedTuple):
    """The end of a process.

    Attributes:
        status: the exit status, 128 + the number of a signal; None if it was lost or never ran.
        fault: how and why, in one line.
    """

    status: int | None
    fault: str


class Host:
    """Runs one process. Its methods are called side by side, each in a thread of its own."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._port: Port | None = None
        self._refusal = ""
        self._is_started = threading.Event()
        self._log = Path()
        self._begin = 0

    def address(self) -> Address:
        """Return the address of this machine in the cluster, and a port of it that is kept."""
        import ray  # all else works without

        host = ray.util.get_node_ip_address()
        self._port = Port(host)
        return host, self._port.number

    def serve(self, task: Task, address: Address) -> None:
        """Start a server at an address, which it gets as its options --host and --port."""
        host, port = address
        self._start([*task.command, f"--host={host}", f"--port={port}"], task, {})

    def join(self, task: Task, meeting: Address) -> None:
        """Start a module of this Python as a rank that meets the others at an address of rank 0."""
        host, port = meeting
        variables = {"MASTER_ADDR": host, "MASTER_PORT": str(port)}
        self._start([sys.executable, "-P", "-m", *task.command], task, variables)

    def _start(self, command: Sequence[str], task: Task, variables: Mapping[str, str]) -> None:
        self._log = Path(task.log)
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._begin = self._log.stat().st_size if self._log.exists() else 0
            self._child = Child(
                command,
                {**task.carried, **os.environ, **task.environment, **variables},
                self._log,
                folder=task.folder,
                grace_s=task.grace_s,
                is_detached=True,
            )
        except OSError as error:
            self._refusal = f"cannot be started: {error}"
        self._is_started.set()

    def watch(self) -> End:
        """Wait until the process has ended, and return how."""
        self._is_started.wait()
        if self._child is None:
            return End(None, self._refusal)
        while (fault := self._child.fault) is None:
            time.sleep(POLL_S)
        return End(self._child.status, fault)

    def read(self, num_read: int) -> bytes:
        """Return what the process has written after so many bytes; nothing is lost if that is."""
        if self._child is None:
            return b""
        with self._log.open("rb") as log:
            log.seek(self._begin + num_read)
            return log.read()

    def stop(self) -> None:
        """End the process, and wait until it has ended."""
        if self._child is not None:
            self._child.stop()
            self._child.wait()
