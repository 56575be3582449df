"""Import and call functions that a user names in a recipe.

A file in the current folder is found, too: the folder is then added to the end of the path, where
no file of it can stand in for a module that is installed.
"""

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from podium_trainer.tasks.task import Message, Prompt, TaskError, environment_reward

Score = Callable[[Prompt, Sequence[Message]], float | None]


class UserCodeError(TaskError):
    """A user's function or module raised an exception, which is the cause of this one."""

    def traceback(self) -> str:
        """Return the cause's traceback without the frames of this package."""
        cause = self.__cause__
        assert cause is not None
        lines = traceback.format_list(frames_of_user(cause))
        lines += traceback.format_exception_only(cause)
        return "Traceback (most recent call last):\n" + "".join(lines)


def import_function(name: str, setting: str) -> Callable[..., Any]:
    """Import the function that `package.module:function` names.

    Args:
        name: what the user wrote; the module may be a file of the current folder.
        setting: where the user wrote it, for errors.

    Raises:
        TaskError: If the name has another form, or names no function.
        UserCodeError: If the module raises an exception while it is imported.
    """
    module_name, _, function_name = name.partition(":")
    module_name = module_name.removesuffix(".py")
    if not all(part.isidentifier() for part in module_name.split(".")) or not function_name:
        raise TaskError(
            f"{setting} {name!r}: must be module:function, such as my_task:make for the function"
            " make in my_task.py of this folder"
        )
    module = import_here(module_name, name, setting)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise TaskError(
            f"{setting} {name!r} cannot be imported: {module.__file__} has no function"
            f" {function_name!r}"
        )
    found: Callable[..., Any] = function
    return found


def import_here(module_name: str, name: str, setting: str) -> ModuleType:
    """Import a module that is installed or in the current folder."""
    first = module_name.partition(".")[0]
    files = [Path(f"{first}.py").resolve(), Path(first).resolve() / "__init__.py"]
    here = next((file for file in files if file.is_file()), None)
    folder = str(Path.cwd())
    if (here or Path(first).is_dir()) and folder not in sys.path:
        sys.path.append(folder)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise raised(error, f"{setting} {name!r}") from error
        raise TaskError(
            f"{setting} {name!r} cannot be imported: {error}; it is neither installed nor a file"
            f" in {folder}"
        ) from error
    except Exception as error:  # the user's module raises what it likes
        raise raised(error, f"{setting} {name!r}") from error
    loaded = getattr(sys.modules[first], "__file__", None)
    if here and loaded and Path(loaded).resolve() != here:
        raise TaskError(
            f"{setting} {name!r}: {here} has the name of an installed module ({loaded}): rename it"
        )
    return module


def score_attempt(
    score: Score,
    prompt: Prompt,
    messages: Sequence[Message],
    reward: float | None = None,
    *,
    what: str = "score",
) -> float | None:
    """Call a task's score, or return the reward of the attempt's environment if the task says so.

    `what` names the function in errors.

    Raises:
        UserCodeError: If it raises an exception.
        TaskError: If it returns anything but None or a number from 0 to 1.
    """
    if score is environment_reward:
        return reward
    where = f"the {what} {name_of(score)} at prompt {prompt.id!r}"
    try:
        value = score(prompt, messages)
    except Exception as error:  # and so does a scorer
        raise raised(error, where) from error
    if value is None:
        return None
    if not isinstance(value, Real) or not 0 <= value <= 1:  # which a NaN is not
        raise TaskError(f"{where} is {value!r}: it must be a number from 0 to 1, or None")
    return float(value)


def name_of(function: Callable[..., object]) -> str:
    """Return a function's name as module:function."""
    name = getattr(function, "__qualname__", repr(function))
    return f"{getattr(function, '__module__', '?')}:{name}"


def raised(error: BaseException, what: str) -> UserCodeError:
    """Say in one line that a user's code raised an exception, which the caller makes its cause."""
    frames = frames_of_user(error)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    words = " ".join("".join(traceback.format_exception_only(error)).split())
    return UserCodeError(f"{what} raised {words}{where}")


def frames_of_user(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an exception that are not of this package."""
    own = (str(Path(__file__).parents[1]), "<frozen importlib", importlib.__file__)
    return [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(own)]
