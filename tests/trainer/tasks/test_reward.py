"""A task's own check is sent with the attempts that are trained on."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from podium_trainer.evaluation.win_rate import Played
from podium_trainer.tasks.reward import sends_reward, verify, verify_all, with_reward
from podium_trainer.tasks.scorers import score_exact
from podium_trainer.tasks.task import Message, Prompt, Task, TaskError, environment_reward
from podium_trainer.tasks.user_code import UserCodeError, score_attempt

PROMPT = Prompt("p", [{"role": "user", "content": "2 + 2 ="}], reference="4")
TASK = Task([PROMPT], score=score_exact)


def said(text: str, environment_reward: float | None = None) -> Played:
    messages = [*PROMPT.messages, {"role": "assistant", "content": text}]
    return Played(messages, "stop", environment_reward)


def give(value: Any, prompt: Prompt, messages: Sequence[Message]) -> Any:
    return value


def test_a_task_sends_no_reward_by_default() -> None:
    assert with_reward(TASK, None) is TASK
    assert not sends_reward(TASK)
    assert verify_all(TASK, PROMPT, [said("4")]) == []


def test_a_recipe_sends_the_score_of_the_task() -> None:
    task = with_reward(TASK, "score")
    assert sends_reward(task)
    assert verify_all(task, PROMPT, [said("4"), said("5")]) == [1.0, 0.0]


def test_a_recipe_names_a_scorer() -> None:
    task = with_reward(TASK, "number")
    assert verify(task, PROMPT, said("It is 4.")) == 1.0
    assert verify(task, Prompt("q", PROMPT.messages), said("4")) is None


def test_a_task_without_a_score_has_none_to_send() -> None:
    with pytest.raises(TaskError, match=r"^task\.reward 'score': the task has no score: name a s"):
        with_reward(Task([PROMPT]), "score")
    with pytest.raises(TaskError, match=r"^task\.reward 'exactly': take one of exact, number"):
        with_reward(TASK, "exactly")


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "1"])
def test_a_reward_out_of_bounds_is_one_line(value: object) -> None:
    task = Task([PROMPT], reward=partial(give, value))
    with pytest.raises(TaskError, match=r"at prompt 'p' is .*: it must be a number from 0"):
        verify(task, PROMPT, said("4"))
    with pytest.raises(TaskError, match=r"^the score .* at prompt 'p' is .*: it must be a number"):
        score_attempt(partial(give, value), PROMPT, said("4").messages)


def test_an_environment_may_give_the_reward() -> None:
    task = with_reward(Task([PROMPT], score=environment_reward), "score")
    assert verify_all(task, PROMPT, [said("4", 0.5), said("4")]) == [0.5, None]


def test_what_an_environment_gives_is_sent_within_bounds() -> None:
    task = with_reward(Task([PROMPT], score=environment_reward), None)
    assert sends_reward(task)
    attempts = [said("4", 0.5), said("4"), said("4", 1.5), said("4", -1.0)]
    assert verify_all(task, PROMPT, attempts) == [0.5, None, None, None]
    own = Task([PROMPT], score=environment_reward, reward=score_exact)
    assert with_reward(own, None) is own


def test_true_and_false_are_numbers() -> None:
    assert verify(Task([PROMPT], reward=partial(give, True)), PROMPT, said("4")) == 1.0


def fail(prompt: Prompt, messages: Sequence[Message]) -> float:
    raise KeyError("no such answer")


def test_an_exception_in_a_reward_names_the_function() -> None:
    task = Task([PROMPT], reward=fail)
    with pytest.raises(UserCodeError, match=r"^the reward .*test_reward:fail at prompt 'p' raised"):
        verify(task, PROMPT, said("4"))
