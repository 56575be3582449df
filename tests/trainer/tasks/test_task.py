"""Tasks, tools and the prompt cursor: their rules, whatever the task is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.tasks.task import Prompt, PromptCursor, Task, TaskError, Tool

PROMPTS = [Prompt(str(i), []) for i in range(7)]


def test_a_repeated_prompt_id_is_refused() -> None:
    with pytest.raises(TaskError, match="prompt id '3' comes twice: ids must be unique"):
        Task(PROMPTS, PROMPTS[3:4])


def test_a_tool_function_that_cannot_be_imported_is_refused() -> None:
    with pytest.raises(TaskError, match="tool 'local': its function must be importable by name"):
        Tool("local", "", {}, lambda: 1)


@given(st.lists(st.integers(0, 10), max_size=8), st.integers(0, 5))
@settings(deadline=None)
def test_every_epoch_is_a_permutation_of_the_prompts(counts: list[int], seed: int) -> None:
    cursor = PromptCursor(PROMPTS, seed)
    ids = [prompt.id for count in counts for prompt in cursor.take(count)]
    assert cursor.num_taken == len(ids) == sum(counts)
    for start in range(0, len(ids), 7):
        epoch = ids[start : start + 7]
        assert len(set(epoch)) == len(epoch)


def test_epochs_differ_and_seeds_differ() -> None:
    cursor = PromptCursor(PROMPTS, 0)
    orders = [tuple(p.id for p in cursor.take(7)) for _ in range(4)]
    assert len(set(orders)) == 4
    assert tuple(p.id for p in PromptCursor(PROMPTS, 1).take(7)) != orders[0]


@given(st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_a_cursor_resumes_from_the_number_taken_alone(before: int, after: int) -> None:
    whole = PromptCursor(PROMPTS, 3)
    whole.take(before)
    resumed = PromptCursor(PROMPTS, 3, num_taken=whole.num_taken)
    assert resumed.take(after) == whole.take(after)
