"""Say in one line how a call of an environment failed, and what the model is told of it."""

from podium_trainer.rollout.tool_runner import describe_error
from podium_trainer.tasks.task import EnvironmentFault
from podium_trainer.tasks.user_code import raised


class EnvironmentLost(Exception):
    """The environment is gone, so that no call can follow; how the call ended, as a verb."""


class RaisedElsewhere(Exception):
    """The environment raised an exception in another process.

    Args:
        words: the exception and its place, in one line.
        told: what the model is told, if a tool raised it.
        trace: the traceback.
    """

    def __init__(self, words: str, told: str, trace: str) -> None:
        super().__init__(words)
        self.told = told
        self.trace = trace


class CallFailed(Exception):
    """A call of an environment failed; one line that says how.

    Attributes:
        told: what the model is told, if a tool raised an exception; None if nothing can follow.
        trace: the traceback of the exception; empty if there is none.
    """

    def __init__(self, reason: str, told: str | None = None, trace: str = "") -> None:
        super().__init__(reason)
        self.told = told
        self.trace = trace


def check_methods(environment: object) -> None:
    """Check that what a task made for an attempt can be called as an environment.

    Raises:
        TypeError: If it lacks a method; with the names of those that are missing.
    """
    missing = [m for m in ("reset", "step", "close") if not callable(getattr(environment, m, None))]
    if missing:
        kind = type(environment).__name__
        raise TypeError(f"{kind} is no environment: it has no {', no '.join(missing)}")


def explain(name: str, error: BaseException) -> CallFailed:
    """Explain what a call raised, by the call's name."""
    if isinstance(error, EnvironmentLost):
        return CallFailed(f"{name} {error}")
    if isinstance(error, RaisedElsewhere):
        return CallFailed(f"{name} raised {error}", error.told, error.trace)
    words, told, trace = describe(error)
    return CallFailed(f"{name} raised {words}", told, trace)


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return what `RaisedElsewhere` holds of an exception."""
    if isinstance(error, EnvironmentFault):
        return " ".join(f"{type(error).__name__}: {error}".split()), describe_error(error), ""
    shown = raised(error, "it")
    shown.__cause__ = error
    words = str(shown).removeprefix("it raised ")
    return words, describe_error(error), shown.traceback()
