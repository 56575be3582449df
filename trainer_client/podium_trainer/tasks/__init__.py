"""The tasks that a recipe can name.

To add one: write a function that returns a `Task` (task.py), put it in TASKS or name it from a
recipe as `package.module:function`, and write a recipe that names it.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.jsonl import jsonl
from podium_trainer.tasks.prices import prices
from podium_trainer.tasks.task import Task, TaskError

TASKS: dict[str, Callable[..., Task]] = {"addition": addition, "jsonl": jsonl, "prices": prices}


def open_task(name: str, options: Mapping[str, Any]) -> Task:
    """Build a task by its name in TASKS or its `package.module:function`.

    Raises:
        TaskError: If there is no such task, or it does not take the options.
    """
    make = TASKS.get(name) or imported(name)
    try:
        task = make(**options)
    except TypeError as error:
        raise TaskError(
            f"task.options {dict(options)} do not fit task {name!r}: {error}"
        ) from error
    if not isinstance(task, Task):
        raise TaskError(
            f"task {name!r} made a {type(task).__name__}, not a podium_trainer.tasks.Task"
        )
    return task


def imported(name: str) -> Callable[..., Task]:
    """The function that `package.module:function` names."""
    module, _, function = name.partition(":")
    if not (module and function):
        raise TaskError(
            f"task.name {name!r}: take one of {sorted(TASKS)} or package.module:function"
        )
    try:
        made: Callable[..., Task] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskError(f"task.name {name!r} cannot be imported: {error}") from error
    return made
