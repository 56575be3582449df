"""Ctrl-C and SIGTERM end a run, wherever they find it; what must not be cut off is finished."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_S = 0.05
AT_ONCE_S = 10.0
STDERR = 2
STOPS_SOON = b"podium-train: stops once the state can be saved; a Ctrl-C then stops it at once\n"


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at Ctrl-C and at SIGTERM, which schedulers send.

    A SIGTERM soon after another one does not, because several come at once: SLURM sends one to all
    processes of a job, and torchrun passes its own on. That would cut off the saving of the state.

    Python goes on after an exception in a destructor or in the callback of a weak reference. If a
    signal comes just then, it is sent again, so that the run does not miss it.
    """
    passed_on, terminate = sys.unraisablehook, _FirstTerm()

    def hook(dropped: "UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            terminate.came_at = -math.inf
            threading.Timer(AGAIN_S, send_again).start()
        else:
            passed_on(dropped)

    def send_again() -> None:
        if sys.unraisablehook is hook:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, terminate)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = passed_on
        signal.signal(signal.SIGTERM, before)


class _FirstTerm:
    """Raises KeyboardInterrupt, but at the first of several calls alone."""

    came_at = -math.inf

    def __call__(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if now > self.came_at + AT_ONCE_S:
            self.came_at = now
            raise KeyboardInterrupt


@contextmanager
def finishing() -> Iterator[None]:
    """Let a signal to stop wait for the end of the block; a Ctrl-C after it does not wait.

    Within another such block it does nothing, nor on another thread than the main one, because
    signals do not come there.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or isinstance(signal.getsignal(signal.SIGINT), _FirstSignal):
        yield
        return
    handle = _FirstSignal()
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if handle.number is not None:
            signal.raise_signal(handle.number)


class _FirstSignal:
    """Keeps the first signal, and raises KeyboardInterrupt at a Ctrl-C after it."""

    number: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            os.write(STDERR, STOPS_SOON)  # the display may be in the midst of a line, and locked
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
