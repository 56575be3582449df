"""Opening a task by name: which names and options are accepted, and what an error says."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.run.cli import run
from podium_trainer.tasks import TASKS, open_task
from podium_trainer.tasks.task import Prompt, Task, TaskError
from podium_trainer.tasks.user_code import UserCodeError


def my_task(size: int = 2) -> Task:
    return Task([Prompt(str(i), []) for i in range(size)])


def not_a_task() -> str:
    return "a task"


HERE = my_task.__module__


def test_a_task_opens_by_its_name_or_its_function() -> None:
    assert len(open_task("addition", {"held_out": 9}).held_out) in (9, 10)
    assert len(open_task(f"{HERE}:my_task", {"size": 5}).train) == 5
    assert {"addition", "data", "prices"} <= set(TASKS)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adition", {}, r"task\.name 'adition': take one of \['addition', .* or module:function"),
        ("no.such:thing", {}, r"task\.name 'no\.such:thing' cannot be imported: "),
        (f"{HERE}:nothing", {}, r"cannot be imported: .* no function 'nothing'"),
        (":my_task", {}, r"task\.name ':my_task': must be module:function, such as"),
        ("./my-task.py:make", {}, r"must be module:function, such as my_task:make"),
        (f"{HERE}:not_a_task", {}, r"made a str, not a podium_trainer\.tasks\.task\.Task"),
        (
            f"{HERE}:my_task",
            {"sise": 5},
            r"task\.options {'sise': 5} do not fit task .*'sise'; it takes size$",
        ),
        ("addition", {"held_out": "x"}, r"task\.options .* do not fit task 'addition': "),
        ("data", {}, r"do not fit task 'data': .*'path'"),
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


def write_module(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


MAKE = """
from sibling import SIZE
from podium_trainer.tasks.task import Prompt, Task

def make():
    return Task([Prompt(str(i), []) for i in range(SIZE)])
"""


def test_a_file_in_the_current_folder_is_found(here: Path) -> None:
    write_module(here, "found_task", MAKE)
    write_module(here, "sibling", "SIZE = 4")
    for name in ("found_task:make", "found_task.py:make"):
        assert len(open_task(name, {}).train) == 4
    assert sys.path[-1] == str(here)


def test_a_file_with_the_name_of_an_installed_module_is_refused(here: Path) -> None:
    write_module(here, "json", "def make(): ...")
    with pytest.raises(TaskError, match=r"json\.py has the name of an installed module .*rename"):
        open_task("json:make", {})
    assert sys.modules["json"].loads("1") == 1


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("1 / 0", r"broken:make' raised ZeroDivisionError: .* \(.*broken\.py:1\)", "1 / 0"),
        ("import nowhere", r"raised ModuleNotFoundError: .*'nowhere'", "import nowhere"),
        ("def make(:", r"raised File .*SyntaxError: [^/]*$", "def make(:"),
        ("def make():\n    return {}['a']", r"raised KeyError: 'a' .*py:2", "return {}['a']"),
        ("def make():\n    return int(None)", r"raised TypeError: int\(\)", "int(None)"),
    ],
)
def test_an_error_in_a_users_code_keeps_its_traceback(
    here: Path, text: str, words: str, line: str
) -> None:
    write_module(here, "broken", text)
    with pytest.raises(UserCodeError, match=words) as caught:
        open_task("broken:make", {})
    assert "\n" not in str(caught.value)
    shown = caught.value.traceback()
    assert line in shown
    assert "podium_trainer" not in shown


def test_podium_train_shows_the_traceback_of_a_users_code(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_module(here, "broken", "def make():\n    raise ValueError('a\\x1b[31mb')")
    (here / "model").mkdir()
    (here / "model/config.json").write_text("{}")
    (here / "recipe.yaml").write_text("{}")
    status = run(["recipe.yaml", "--task", "broken:make", "--model", "./model"])
    lines = capsys.readouterr().err.splitlines()
    assert status == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("podium-train: task.name 'broken:make' raised ValueError: a")
    assert not any("\x1b" in line for line in lines)
