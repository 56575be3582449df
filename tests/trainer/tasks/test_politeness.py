"""The politeness task: what it holds out, and what its check lets pass."""

import pytest

from podium_trainer.tasks.politeness import politeness


def test_politeness_has_no_reference_and_60_messages() -> None:
    task = politeness()
    prompts = [*task.train, *task.held_out]
    assert (len(task.train), len(task.held_out)) == (48, 12)
    assert len({prompt.id for prompt in prompts}) == 60
    assert all(prompt.reference is None for prompt in prompts)
    assert politeness(seed=1).held_out == politeness(seed=1).held_out != task.held_out


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("I am sorry, we will send you a new lamp.", 1),
        ("Of course, you can return it!", 1),
        ("Can you please tell us your order number?", 1),
        (" We apologize for the delay. ", 1),
        ("I am sorry, we will send you a new", 0),  # cut off
        ("We will send you a new lamp.", 0),  # not polite
        ("The customer is sorry.", 0),  # speaks to nobody
        ("I'm sorry. We will send a new one.", 0),  # two sentences
        ("i am sorry for that.", 0),
        ("I am sorry\nfor that.", 0),
        ("I am sorry that it was so very late and that it was also quite badly broken.", 0),
        ("Sorryful we are.", 0),
        ("", 0),
    ],
)
def test_politeness_is_one_short_polite_sentence(text: str, score: float) -> None:
    task = politeness()
    assert task.score(task.train[0], [{"role": "assistant", "content": text}]) == score
