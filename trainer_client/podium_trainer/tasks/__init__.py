"""Open the task that a recipe names.

To add a task:

1. Write a function that returns a `Task` (task.py): prompts to train on, prompts held out, tools,
   and a `score` for the held-out ones. Its arguments are what a recipe writes in `task.options`.
2. Put the function in TASKS, or leave it in a package of your own, which a recipe names as
   `package.module:function`.
3. Write a recipe with `task: {name: ..., options: {...}}`, and a test of the score.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.jsonl import jsonl
from podium_trainer.tasks.prices import prices
from podium_trainer.tasks.questions import questions
from podium_trainer.tasks.task import Task, TaskError

TASKS: dict[str, Callable[..., Task]] = {
    "addition": addition,
    "jsonl": jsonl,
    "prices": prices,
    "questions": questions,
}


def open_task(name: str, options: Mapping[str, Any]) -> Task:
    """Build a task.

    Args:
        name: a name in TASKS, or `package.module:function`.
        options: the function's arguments.

    Raises:
        TaskError: If there is no such task, or it does not take the options.
    """
    make_task = TASKS.get(name) or import_task(name)
    try:
        task = make_task(**options)
    except TypeError as error:
        raise TaskError(
            f"task.options {dict(options)} do not fit task {name!r}: {error}"
        ) from error
    if not isinstance(task, Task):
        raise TaskError(
            f"task {name!r} made a {type(task).__name__}, not a podium_trainer.tasks.task.Task"
        )
    return task


def import_task(name: str) -> Callable[..., Task]:
    """Import the function that `package.module:function` names.

    Raises:
        TaskError: If the name has another form, or the function cannot be imported.
    """
    module, _, function = name.partition(":")
    if not (module and function):
        raise TaskError(
            f"task.name {name!r}: take one of {sorted(TASKS)} or package.module:function"
        )
    try:
        make_task: Callable[..., Task] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskError(f"task.name {name!r} cannot be imported: {error}") from error
    return make_task
