"""The addition task: what it holds out and which answers it accepts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.task import Prompt


def summands(prompt: Prompt) -> frozenset[str]:
    """Return the two numbers of a problem, in no order."""
    a, _, b, _ = prompt.id.split()
    return frozenset((a, b))


@given(held_out=st.integers(0, 90), seed=st.integers(0, 50))
@settings(deadline=None)
def test_no_held_out_problem_is_trained_on_in_mirror_image(held_out: int, seed: int) -> None:
    task = addition(held_out, seed)
    train_pairs, test_pairs = ({*map(summands, side)} for side in (task.train, task.held_out))
    assert not train_pairs & test_pairs
    assert held_out <= len(task.held_out) <= held_out + 1
    prompts = [*task.train, *task.held_out]
    assert len(prompts) == len({prompt.id for prompt in prompts}) == 99
    assert "2 + 2 =" not in {prompt.id for prompt in prompts}  # it is every prompt's example


def test_addition_draws_the_same_problems_for_the_same_seed() -> None:
    assert addition(seed=1).held_out == addition(seed=1).held_out
    assert addition(seed=1).held_out != addition(seed=2).held_out


@pytest.mark.parametrize(
    ("text", "score"),
    [("12", 1), (" 12\n", 1), ("12.", 1), ("12 .", 1), ("12..", 0), ("1 2", 0), ("12.0", 0),
     ("= 12", 0), ("twelve", 0), ("112", 0), ("", 0), ("1\n2", 0)],
)  # fmt: skip
def test_addition_accepts_the_sum_and_nothing_else(text: str, score: float) -> None:
    task = addition()
    prompt = next(p for p in [*task.train, *task.held_out] if p.id == "5 + 7 =")
    assert prompt.reference == "12"
    assert task.score(prompt, [{"role": "assistant", "content": text}]) == score
