"""The actor that runs one process on the machine that Ray has placed it on.

The process ends when the actor does: after `stop`, after a kill, or when the run that owns the
actor has ended, however that ends.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ray

from podium_trainer.samplers.launch.child import POLL_S, Child, free_port

Address = tuple[str, int]


@dataclass(frozen=True)
class Task:
    """What a host runs.

    Attributes:
        command: the program and its arguments.
        log: the path of the file that gets its output.
        environment: the variables that it needs.
        carried: variables that it gets unless its machine has them.
    """

    command: Sequence[str]
    log: str
    environment: Mapping[str, str]
    carried: Mapping[str, str] = field(default_factory=dict)


class Host:
    """Runs one process. Its methods are called side by side, each in a thread of its own."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._refusal = ""
        self._is_started = threading.Event()

    def address(self) -> Address:
        """Return the address of this machine in the cluster, and a port of it that is free."""
        host = ray.util.get_node_ip_address()
        return host, free_port(host)

    def serve(self, task: Task, address: Address) -> None:
        """Start a server at an address, which it gets as its options --host and --port."""
        host, port = address
        self._start([*task.command, f"--host={host}", f"--port={port}"], task, {})

    def _start(self, command: Sequence[str], task: Task, environment: Mapping[str, str]) -> None:
        log = Path(task.log)
        variables = {**task.carried, **os.environ, **task.environment, **environment}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._child = Child(command, variables, log, is_detached=True)
        except OSError as error:
            self._refusal = f"cannot be started: {error}"
        self._is_started.set()

    def watch(self) -> str:
        """Wait until the process has ended, and say how and why."""
        self._is_started.wait()
        if self._child is None:
            return self._refusal
        while (fault := self._child.fault) is None:
            time.sleep(POLL_S)
        return fault

    def stop(self) -> None:
        """End the process, and wait until it has ended."""
        if self._child is not None:
            self._child.stop()
            self._child.wait()
