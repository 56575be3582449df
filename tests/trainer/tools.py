"""Tools for tests, most of them ill-behaved. Tool processes import this file."""

import os
import sys
import time
from pathlib import Path

from podium_trainer.tasks.task import Tool


def add(a: float, b: float) -> float:
    return a + b


def echo(text: str) -> str:
    return text


def fail(why: str = "no reason") -> None:
    raise RuntimeError(why)


def hang() -> None:
    time.sleep(600)


def die() -> None:
    os._exit(3)


def leave() -> None:
    sys.exit("bye")


def interrupt() -> None:
    raise KeyboardInterrupt


class Unprintable(Exception):
    """An exception that has no text and cannot be pickled."""

    def __init__(self) -> None:
        self.hook = lambda: None

    def __str__(self) -> str:
        raise ValueError("no text")


def unprintable() -> object:
    return Unprintable()


def raise_unprintable() -> None:
    raise Unprintable


def lone_surrogate() -> str:
    return "x\ud83dy"


def long_text() -> str:
    return "x" * 100_000


def meet(folder: str, me: str, other: str) -> str:
    """Return once a call with the other name is running, too."""
    Path(folder, me).touch()
    while not Path(folder, other).exists():
        time.sleep(0.01)
    return f"{me} met {other}"


def environment(variable: str) -> str | None:
    return os.environ.get(variable)


TOOLS = [
    Tool(function.__name__, "A tool.", {"type": "object", "properties": {}}, function)
    for function in (
        add, echo, fail, hang, die, leave, interrupt, unprintable, raise_unprintable,
        lone_surrogate, long_text, meet, environment,
    )
]  # fmt: skip
