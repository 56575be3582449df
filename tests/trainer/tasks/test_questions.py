"""The task of small questions: what it holds out, and what its check lets pass."""

import pytest

from podium_trainer.tasks.questions import ANSWERS, build_prompt, questions


def test_questions_has_no_reference_and_60_questions() -> None:
    task = questions()
    prompts = [*task.train, *task.held_out]
    assert (len(task.train), len(task.held_out)) == (48, 12)
    assert len({prompt.id for prompt in prompts}) == len(ANSWERS) == 60
    assert all(prompt.reference is None for prompt in prompts)
    assert questions(seed=1).held_out == questions(seed=1).held_out != task.held_out


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("The opposite of hot is cold.", 1),
        (" It is cold! ", 1),
        ("The opposite of hot is Cold.", 1),
        ("The opposite of hot is cool.", 0),
        ("The opposite of hot is coldness.", 0),
        ("The opposite of hot is cold", 0),  # cut off
        ("cold", 0),  # no sentence
        ("The opposite is cold. It is not hot.", 0),  # two sentences
        ("It is\ncold.", 0),
        ("Well, I think that the opposite of hot is surely always cold.", 0),
        ("", 0),
    ],
)
def test_an_answer_is_one_short_right_sentence(text: str, score: float) -> None:
    prompt = build_prompt("What is the opposite of hot?")
    assert questions().score(prompt, [{"role": "assistant", "content": text}]) == score
