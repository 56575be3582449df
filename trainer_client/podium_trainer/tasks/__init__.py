"""Open the task that a recipe names.

To add a task:

1. Write a function that returns a `Task` (task.py): prompts to train on, prompts held out, tools,
   and a `score` for the held-out ones. Its arguments are what a recipe writes in `task.options`.
2. Put the function in TASKS, or leave it in a module of your own, installed or in the current
   folder, which a recipe names as `module:function`.
3. Write a recipe with `task: {name: ..., options: {...}}`, and a test of the score.
"""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.data import data
from podium_trainer.tasks.environments.servers import environment_server
from podium_trainer.tasks.environments.verifiers_tasks import verifiers
from podium_trainer.tasks.guess import guess
from podium_trainer.tasks.prices import prices
from podium_trainer.tasks.questions import questions
from podium_trainer.tasks.task import Task, TaskError
from podium_trainer.tasks.till import till
from podium_trainer.tasks.user_code import import_function, raised

TASKS: dict[str, Callable[..., Task]] = {
    "addition": addition,
    "data": data,
    "environment_server": environment_server,
    "guess": guess,
    "prices": prices,
    "questions": questions,
    "till": till,
    "verifiers": verifiers,
}


def open_task(name: str, options: Mapping[str, Any]) -> Task:
    """Build a task.

    Args:
        name: a name in TASKS, or `package.module:function`.
        options: the function's arguments.

    Raises:
        TaskError: If there is no such task, or it does not take the options.
        UserCodeError: If a function of the user raises an exception.
    """
    make_task = TASKS.get(name) or import_task(name)
    try:
        signature(make_task).bind(**options)
    except TypeError as error:
        takes = ", ".join(signature(make_task).parameters) or "none"
        raise TaskError(
            f"task.options {dict(options)} do not fit task {name!r}: {error}; it takes {takes}"
        ) from error
    try:
        task = make_task(**options)
    except TaskError:
        raise
    except Exception as error:
        if name in TASKS:  # they check no types, so a wrong one shows itself as any error
            raise TaskError(
                f"task.options {dict(options)} do not fit task {name!r}: {error}"
            ) from error
        raise raised(error, f"task.name {name!r}") from error
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
    if ":" not in name:
        raise TaskError(
            f"task.name {name!r}: take one of {sorted(TASKS)} or module:function, such as"
            " my_task:make for the function make in my_task.py of this folder"
        )
    return import_function(name, "task.name")
