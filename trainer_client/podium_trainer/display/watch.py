"""Show a run to a person: a live display on a terminal, or lines in a log."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from podium_trainer.config import TrainConfig
from podium_trainer.display.completions import completions_lines, completions_view
from podium_trainer.display.curve import draw_run, text_curve
from podium_trainer.display.dashboard import (
    MAX_WIDTH,
    about,
    bars,
    frame,
    numbers,
    seconds_left,
    step_line,
    summary,
)
from podium_trainer.display.history import History
from podium_trainer.display.text import cut, duration, visible
from podium_trainer.records.metrics import Row
from podium_trainer.update.groups import RankedGroup

LOG_WIDTH = 72


class Screen:
    """A live display, above which completions scroll away.

    Args:
        config: all settings of the run.
        console: the terminal.
        clock: a clock in seconds.
    """

    def __init__(
        self, config: TrainConfig, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.console = console
        self.clock = clock
        self.history = History()
        self.now = ("starting", 0, 0)
        self.phase_since: float | None = None
        self.step_since = clock()
        self._numbers: RenderableType = ""
        self._numbers_for = (-1, -1)
        self.live = Live(console=console, get_renderable=self.view, refresh_per_second=4)

    @property
    def width(self) -> int:
        """The columns of the display, less two for the ^C that a terminal echoes."""
        return min(self.console.width - 2, MAX_WIDTH)

    def begin(self) -> None:
        """Begin to show the run, after the steps in its folder, if there are any."""
        self.history = History.read(self.config.out)
        self.phase_since = self.step_since = self.clock()
        self.live.start()

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if not self.live.is_started:
            self.console.print(Text(f"{name} ...", style="dim"))
        if name != self.now[0] or not total:
            self.phase_since = self.clock()
        self.now = (name, done, total)

    def note(self, text: str) -> None:
        self.console.print(Text(visible(text), style="dim"))

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        self.history.add(step, row, timing)
        self.step_since = self.clock()

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        self.console.print(completions_view(step, groups, self.width))
        self.console.print()

    def view(self) -> RenderableType:
        """Render the display."""
        width, steps, now = self.width, self.config.steps, self.clock()
        times = ("", "")
        if self.phase_since is not None:
            left = seconds_left(self.history, steps, now - self.step_since)
            times = (
                "" if left is None else f"{duration(left)} left",
                duration(now - self.phase_since),
            )
        lines = [Text(cut(line, width - 4)) for line in about(self.config)]
        rows = bars(self.history, steps, self.now, times)
        parts = [*lines, "", rows, "", self.numbers(width - 4)]
        return frame(f"podium-train {self.config.out}", parts, width)

    def numbers(self, width: int) -> RenderableType:
        """Render the numbers, anew only for a new step or another width, to save time."""
        key = (len(self.history.timings), width)
        if key != self._numbers_for:
            self._numbers, self._numbers_for = numbers(self.history, width), key
        return self._numbers

    def close(self) -> None:
        """Leave the last state on the terminal, draw the curve and name the files."""
        if not self.live.is_started:
            return
        self.now = ("done" if self.history.step >= self.config.steps else "stopped", 0, 0)
        self.phase_since = None
        self.live.stop()
        points, name = self.history.headline()
        for line in text_curve(points, self.width, name):
            self.console.print(Text(line, style="green"))
        for line in closing_lines(self.config, self.history):
            self.console.print(Text(line, style="bold"), soft_wrap=True)


class Lines:
    """A log with a line per step, without codes for a terminal."""

    def __init__(self, config: TrainConfig, file: TextIO) -> None:
        self.config = config
        self.file = file
        self.history = History()
        self.is_begun = False

    def begin(self) -> None:
        """Begin to show the run, after the steps in its folder, if there are any."""
        self.is_begun = True
        self.history = History.read(self.config.out)
        self.say(" · ".join([str(self.config.out), *about(self.config)]))
        if self.history.metrics:
            self.say(f"resumed after step {self.history.step}")

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if not self.is_begun:
            self.say(f"{name} ...")

    def note(self, text: str) -> None:
        self.say(visible(text))

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        self.history.add(step, row, timing)
        self.say(step_line(self.history, self.config.steps))

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        for line in completions_lines(step, groups):
            self.say(line)

    def close(self) -> None:
        """Draw the curve, and name the files."""
        if not self.is_begun:
            return
        points, name = self.history.headline()
        curve = text_curve(points, LOG_WIDTH, name)
        for line in (*curve, *closing_lines(self.config, self.history)):
            self.say(line)

    def say(self, line: str) -> None:
        write_or_drop(self.file, line + "\n")


def write_or_drop(file: TextIO, text: str) -> None:
    """Write to a log. If that fails, say so on stderr and drop all that comes later.

    A run goes on when who reads its log has ended, as `head` does, or the log's disk is full.
    """
    try:
        file.write(text)
        file.flush()
    except OSError as error:
        with suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), file.fileno())
            sys.stderr.write(
                f"podium-train: the log cannot be written ({error.strerror}): the run goes on, and"
                " its numbers are in metrics.jsonl\n"
            )


def closing_lines(config: TrainConfig, history: History) -> Iterator[str]:
    """Yield a warning if the curve could not be drawn, and the summary."""
    warning = draw_run(config.out) if history.metrics else None
    if warning:
        yield visible(warning)
    yield visible(summary(history, config.steps, f"files in {config.out}"))


@contextmanager
def open_watcher(config: TrainConfig) -> Iterator[Screen | Lines]:
    """Open a display if stdout is a terminal, else a log."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log in another encoding must not end the run
    console = Console(markup=False, emoji=False, highlight=False)
    is_seen = sys.stdout.isatty() and not console.is_dumb_terminal
    watcher = Screen(config, console) if is_seen else Lines(config, sys.stdout)
    try:
        yield watcher
    finally:
        watcher.close()
