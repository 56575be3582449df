"""Run each environment in a process of its own, which may crash, hang or use another core.

A process serves one attempt at a time, and then the next one; it is killed if a call takes too
long. It gets its requests over a pipe (process_main.py), and closes its environment when the
pipe ends, so that it outlives no trainer.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import Any, Self

from podium_trainer.rollout.environments.faults import EnvironmentLost, RaisedElsewhere
from podium_trainer.rollout.tool_runner import SECRETS
from podium_trainer.tasks.task import Environment, Message, Prompt, TaskError

MODULE = "podium_trainer.rollout.environments.process_main"
END_S = 2.0  # seconds that a process may take to end


class Worker:
    """A process that holds an environment.

    Args:
        timeout_s: the time limit of one request, in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._connection, theirs = Pipe()
        variables = {k: v for k, v in os.environ.items() if k not in SECRETS}
        variables["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                env=variables,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # ctrl-C reaches the trainer alone, which then closes it
            )

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method there, and return its result.

        Raises:
            RaisedElsewhere: If it raises an exception.
            EnvironmentLost: If it takes too long or ends the process.
        """
        request = pickle.dumps((name, args, kwargs))
        try:
            self._connection.send_bytes(request)
            if not self._connection.poll(self.timeout_s):
                self.kill()
                raise EnvironmentLost(f"took longer than {self.timeout_s:g} s")
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            self.kill()
            raise EnvironmentLost(
                f"ended its process (exit status {self._process.returncode})"
            ) from error
        if kind == "raised":
            raise RaisedElsewhere(*value)
        if kind == "lost":
            raise EnvironmentLost(value)
        return value

    def end(self) -> None:
        """Let the process end, and kill it if it does not."""
        self._connection.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process and those that it started."""
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()


class Processes:
    """Makes environments in processes. Close it, or use it in `with`.

    Args:
        make: makes an environment; it is sent to the processes, so it must be importable.
        timeout_s: the time limit of one call, in seconds.

    Raises:
        TaskError: If `make` cannot be sent.
    """

    def __init__(self, make: Callable[[], Environment], timeout_s: float) -> None:
        try:
            pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TaskError(
                f"environment.kind process: the task's environment must be importable by name"
                f" ({error}): define it in a module, or set kind thread"
            ) from error
        self._make = make
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def make(self) -> "ProcessEnvironment":
        """Make an environment in a process that is free, or in a new one."""
        worker = self._take()
        try:
            worker.ask("make", self._make)
        except BaseException:
            self.drop(worker)
            raise
        return ProcessEnvironment(worker, self)

    def _take(self) -> Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        worker = Worker(self._timeout_s)
        with self._lock:
            self._all.add(worker)
        return worker

    def give_back(self, worker: Worker) -> None:
        """Keep a process whose environment is closed, for another attempt."""
        with self._lock:
            self._idle.append(worker)

    def drop(self, worker: Worker) -> None:
        """End a process that is in no state to go on."""
        with self._lock:
            self._all.discard(worker)
        worker.kill()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            workers, self._all = self._all, set()
        for worker in workers:
            worker.end()


class ProcessEnvironment:
    """An environment that lives in a process.

    Args:
        worker: the process.
        owner: takes the process back.
    """

    def __init__(self, worker: Worker, owner: Processes) -> None:
        self._worker = worker
        self._owner = owner

    def reset(self, prompt: Prompt) -> Any:
        """Reset the environment there."""
        return self._worker.ask("reset", prompt)

    def step(self, completion: Message) -> Any:
        """Give the environment there a completion."""
        return self._worker.ask("step", completion)

    def close(self) -> None:
        """Close the environment there; it is gone if its process is."""
        try:
            self._worker.ask("close")
        except EnvironmentLost:
            self._owner.drop(self._worker)
        except BaseException:
            self._owner.drop(self._worker)
            raise
        else:
            self._owner.give_back(self._worker)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the method that is a tool of this name."""
        return lambda **arguments: self._worker.ask(name, **arguments)
