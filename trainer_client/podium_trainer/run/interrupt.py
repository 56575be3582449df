"""Ctrl-C and SIGTERM end a run, wherever they find it; what must not be cut off is finished."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_S = 0.05
STDERR = 2
STOPS_SOON = b"podium-train: stops once the state can be saved; a second signal stops it at once\n"


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at Ctrl-C and at SIGTERM, which schedulers send.

    Python goes on after an exception in a destructor or in the callback of a weak reference. If a
    signal comes just then, it is sent again, so that the run does not miss it.
    """
    passed_on = sys.unraisablehook

    def hook(dropped: "UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_S, send_again).start()
        else:
            passed_on(dropped)

    def send_again() -> None:
        if sys.unraisablehook is hook:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = passed_on
        signal.signal(signal.SIGTERM, before)


@contextmanager
def finishing() -> Iterator[None]:
    """Let a signal to stop wait for the end of the block; a second one does not wait.

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
    """Keeps the first signal, and raises KeyboardInterrupt at the second one."""

    number: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        os.write(STDERR, STOPS_SOON)  # the display may be in the midst of a line, and locked
