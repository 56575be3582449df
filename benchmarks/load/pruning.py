"""`podium store prune` every few minutes beside a service at work, as its operator would."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Pruner:
    """Deletes what is older than `every_s`, so that a store holds twice that at most."""

    def __init__(self, store: str, every_s: float) -> None:
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "podium_service",
            "store",
            "prune",
            "--store",
            store,
        ]
        self._command += ["--older-than", f"{every_s:g}s"]
        self._every_s = every_s
        self._due_s = 2 * every_s
        self._process: subprocess.Popen[bytes] | None = None
        self.done = 0

    def tick(self, now_s: float) -> None:
        """Start it where it is due.

        Raises:
            RuntimeError: If the last one failed.
        """
        if self._process and self._process.poll() is not None:
            self.finish()
        if not self._process and now_s >= self._due_s:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
            self._due_s = now_s + self._every_s

    def finish(self) -> None:
        """Wait for the one at work.

        Raises:
            RuntimeError: If it failed.
        """
        if self._process:
            process, self._process = self._process, None
            if process.wait():
                raise RuntimeError(f"pruning the store ended with {process.returncode}")
            self.done += 1


@contextmanager
def pruning(store: str, every_s: float) -> Iterator[Pruner]:
    pruner = Pruner(store, every_s)
    try:
        yield pruner
    finally:
        pruner.finish()
