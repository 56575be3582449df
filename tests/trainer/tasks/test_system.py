"""A recipe's system prompt comes before all other messages of every prompt."""

from podium_trainer.tasks.system import with_system
from podium_trainer.tasks.task import Prompt, Task

USER = {"role": "user", "content": "hi"}
OWN = {"role": "system", "content": "Be kind.", "name": "x"}
TASK = Task([Prompt("a", [USER], reference="4")], [Prompt("b", [OWN, USER])])


def test_a_system_prompt_comes_first_in_every_prompt() -> None:
    task = with_system(TASK, "Be brief.")
    assert task.train[0].messages == [{"role": "system", "content": "Be brief."}, USER]
    assert task.train[0].reference == "4"
    merged = {"role": "system", "content": "Be brief.\n\nBe kind.", "name": "x"}
    assert task.held_out[0].messages == [merged, USER]
    assert OWN["content"] == "Be kind."


def test_no_system_prompt_leaves_the_task_as_it_is() -> None:
    assert with_system(TASK, None) is TASK
