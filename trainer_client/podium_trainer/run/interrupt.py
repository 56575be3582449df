"""Ctrl-C and SIGTERM end a run, wherever they find it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_S = 0.05


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
