"""Start a server's process, end it, and read from its log why it ended."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from podium_trainer.samplers.launch import guard

STOP_S = guard.GRACE_S + 5.0
MAX_QUOTED_CHARS = 300
TAIL_BYTES = 200_000
# "ValueError: no room", "api_server.py: error: unrecognized arguments"
_REASON = re.compile(r"\b(?:\w*(?:Error|Exception)|error): .+")
_REFERS_TO_ANOTHER = "See root cause above"


class Child:
    """One start of a server, in a process group of its own, which ends with this process.

    Args:
        command: what is run.
        environment: its environment.
        log: the file that its output is added to.

    Attributes:
        started_at: the time on the monotonic clock.
        pid: of the command and of its group; None if it cannot be run.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.started_at = time.monotonic()
        self._log = log
        with log.open("ab") as output:
            self._starts_at = output.tell()
            self._guard = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
                start_new_session=True,  # ctrl-C is for the run, which then ends its servers
            )
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            line = answer.readline()
        self.pid = int(line) if line else None

    @property
    def status(self) -> int | None:
        """The exit status, 128 + the number of a signal that ended it; None while it runs."""
        return self._guard.poll()

    def stop(self) -> None:
        """Ask the server to end, without waiting for it."""
        self._guard.terminate()

    def wait(self) -> None:
        """Wait until the server has ended after `stop`, and kill it if that takes too long."""
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(STOP_S)
            return
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._guard.kill()
        self._guard.wait()

    def why_ended(self) -> str:
        """Return the line of its log that says best why it ended, and the log's name.

        After a kill it is the signal, because the log says nothing about that.
        """
        if self.status == 128 + signal.SIGKILL:
            return f"it was killed, maybe for want of memory (its log: {self._log})"
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._starts_at, size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        reasons = [found[0] for line in lines if (found := _REASON.search(line))]
        causes = [reason for reason in reasons if _REFERS_TO_ANOTHER not in reason]
        words = causes or reasons or [line for line in lines if line.strip()] or ["no output"]
        return f"{' '.join(words[-1].split())[:MAX_QUOTED_CHARS]} (its log: {self._log})"
