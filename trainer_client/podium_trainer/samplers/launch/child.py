"""Start a process, end it, and read from its log why it ended."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from podium_trainer.samplers.launch import guard

KILL_S = 5.0  # after the grace
POLL_S = 0.05
MAX_QUOTED_CHARS = 300
TAIL_BYTES = 200_000
# "ValueError: no room", "api_server.py: error: unrecognized arguments"
_REASON = re.compile(r"\b(?:\w*(?:Error|Exception)|error): .+")
_REFERS_TO_ANOTHER = "See root cause above"


class Child:
    """One start of a command, in a process group of its own, which ends with this process.

    Args:
        command: what is run.
        environment: its environment.
        log: the file that its output is added to.
        folder: where it runs; None for the present one.
        grace_s: the seconds that it has to end itself after `stop`.
        is_detached: whether it must outlive, by a moment, a kill of all children of this process.

    Attributes:
        pid: of the command and of its group; None if it cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        folder: str | None = None,
        grace_s: float = guard.GRACE_S,
        is_detached: bool = False,
    ) -> None:
        self._log = log
        self._grace_s = grace_s
        self._status: int | None = None
        self._lock = threading.Lock()
        how = [guard.DETACHED if is_detached else guard.CHILD, str(grace_s)]
        with log.open("ab") as output:
            self._starts_at = output.tell()
            self._guard = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, *how, *command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,  # ctrl-C is for the run, which then ends its processes
            )
        assert self._guard.stdout is not None
        line = self._guard.stdout.readline().strip()
        os.set_blocking(self._guard.stdout.fileno(), False)
        self.pid = int(line) if line else None

    @property
    def status(self) -> int | None:
        """The exit status, 128 + the number of a signal that ended it; None while it runs."""
        assert self._guard.stdout is not None
        with self._lock:
            if self._status is None:
                answer = self._guard.stdout.read()  # None: not yet; empty: the guard was killed
                if answer is not None:
                    if not answer:
                        self._kill_group()
                    self._status = int(answer or 128 + signal.SIGKILL)
                    self.stop()
                    self._guard.stdout.close()
                    self._guard.wait()
            return self._status

    @property
    def fault(self) -> str | None:
        """How and why it has ended; None while it runs."""
        status = self.status
        return None if status is None else f"has ended with status {status}: {self.why_ended()}"

    def stop(self) -> None:
        """Ask the process to end, without waiting for it."""
        assert self._guard.stdin is not None
        with suppress(OSError, ValueError):  # it has ended, or has been asked
            self._guard.stdin.write(guard.STOP)
        self._guard.stdin.close()

    def wait(self) -> None:
        """Wait until the process has ended after `stop`, and kill it if that takes too long."""
        ends_at = time.monotonic() + self._grace_s + KILL_S
        while self.status is None and time.monotonic() < ends_at:
            time.sleep(POLL_S)
        if self.status is None:
            self._kill_group()

    def _kill_group(self) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def why_ended(self) -> str:
        """Return the line of its log that says best why it ended, and the log's name.

        After a kill it is the signal, because the log says nothing about that.
        """
        if self.status == 128 + signal.SIGKILL:
            return f"it was killed, maybe for want of memory (its log: {self._log})"
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._starts_at, size - TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError as error:  # somebody may have removed it to make room
            return f"its log {self._log} cannot be read: {error.strerror}"
        reasons = [found[0] for line in lines if (found := _REASON.search(line))]
        causes = [reason for reason in reasons if _REFERS_TO_ANOTHER not in reason]
        words = causes or reasons or [line for line in lines if line.strip()] or ["no output"]
        return f"{' '.join(words[-1].split())[:MAX_QUOTED_CHARS]} (its log: {self._log})"


class Port:
    """A port of an address of this machine, kept for a process that takes a while to listen there.

    Nobody else gets it meanwhile, neither to listen on nor to connect from. A server can listen on
    it nevertheless, because servers set SO_REUSEADDR and nobody listens on it yet. That is so on
    Linux; elsewhere it is free again at once.

    Args:
        host: the address.

    Attributes:
        number: the port's.
    """

    def __init__(self, host: str) -> None:
        self._kept = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind((host, 0))
        self.number = int(self._kept.getsockname()[1])
        if sys.platform != "linux":
            self.give_up()

    def give_up(self) -> None:
        """Let anybody have it."""
        self._kept.close()
