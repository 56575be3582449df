"""Define what shows a run to a person; display/watch.py has a live display and a log."""

from collections.abc import Sequence
from threading import RLock
from typing import Protocol

from podium_trainer.records.metrics import Row
from podium_trainer.update.groups import RankedGroup


class Watcher(Protocol):
    """A display that shows a run to a person."""

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        """Show the present phase of the step, and `done` of its `total` parts."""

    def note(self, text: str) -> None:
        """Show a line about the run."""

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        """Show the numbers of a step."""

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        """Show some completions with their rewards and the judge's explanations."""


class OneAtATime:
    """Lets one thread at a time call a watcher, so that the watcher need not know of threads."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._lock = RLock()

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        with self._lock:
            self._watcher.phase(name, done, total)

    def note(self, text: str) -> None:
        with self._lock:
            self._watcher.note(text)

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        with self._lock:
            self._watcher.step_done(step, row, timing)

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        with self._lock:
            self._watcher.groups(step, groups)
