"""Opening a task by name: which names and options are accepted, and what an error says."""

from typing import Any

import pytest

from podium_trainer.tasks import TASKS, open_task
from podium_trainer.tasks.task import Prompt, Task, TaskError


def my_task(size: int = 2) -> Task:
    return Task([Prompt(str(i), []) for i in range(size)])


def not_a_task() -> str:
    return "a task"


HERE = my_task.__module__


def test_a_task_opens_by_its_name_or_its_function() -> None:
    assert len(open_task("addition", {"held_out": 9}).held_out) in (9, 10)
    assert len(open_task(f"{HERE}:my_task", {"size": 5}).train) == 5
    assert {"addition", "jsonl", "prices"} <= set(TASKS)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adition", {}, r"task\.name 'adition': take one of \['addition', .* or package\.module"),
        ("no.such:thing", {}, r"task\.name 'no\.such:thing' cannot be imported: "),
        (f"{HERE}:nothing", {}, r"cannot be imported: .* no attribute 'nothing'"),
        (":my_task", {}, r"task\.name ':my_task'"),
        (f"{HERE}:not_a_task", {}, r"made a str, not a podium_trainer\.tasks\.task\.Task"),
        (f"{HERE}:my_task", {"sise": 5}, r"task\.options {'sise': 5} do not fit task .*'sise'"),
        ("addition", {"held_out": "x"}, r"task\.options .* do not fit task 'addition': "),
        ("jsonl", {}, r"do not fit task 'jsonl': .*'path'"),
        ("addition", {"held_out": 99}, "the task yields no prompt to train on"),
        (f"{HERE}:my_task", {"size": 0}, "the task yields no prompt to train on"),
    ],
)
def test_a_task_that_cannot_be_opened_is_explained_in_one_line(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TaskError, match=words) as caught:
        open_task(name, options)
    assert "\n" not in str(caught.value)
