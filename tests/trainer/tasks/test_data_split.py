"""Held-out prompts of the data task: by share, by content, and never trained on."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.tasks import open_task
from podium_trainer.tasks.data.split import hold_out
from podium_trainer.tasks.task import Prompt, TaskError


def prompts_of(texts: list[str], prefix: str = "") -> list[Prompt]:
    return [
        Prompt(f"{prefix}{number}", [{"role": "user", "content": text}])
        for number, text in enumerate(texts)
    ]


def said(prompts: list[Prompt]) -> set[str]:
    return {str(prompt.messages[0]["content"]) for prompt in prompts}


TEXTS = st.lists(st.text(max_size=3), min_size=2, max_size=30)


@given(TEXTS, st.floats(0.01, 0.99), st.integers(0, 3), st.randoms())
@settings(deadline=None)
def test_a_share_depends_on_content_and_seed_alone(
    texts: list[str], share: float, seed: int, order: object
) -> None:
    distinct = len(set(texts))
    if distinct < 2:
        return
    train, test = hold_out(prompts_of(texts), share, seed)
    assert len(train) + len(test) == len(texts)
    assert said(train).isdisjoint(said(test))
    assert len(said(test)) == min(max(1, round(share * distinct)), distinct - 1)
    shuffled = sorted(texts, key=lambda text: hash((text, str(order))))
    _, again = hold_out(prompts_of(shuffled, "other/"), share, seed)
    assert said(again) == said(test)


def test_another_seed_holds_out_other_prompts() -> None:
    prompts = prompts_of([str(n) for n in range(100)])
    sides = {seed: said(hold_out(prompts, 0.2, seed)[1]) for seed in (0, 1)}
    assert len(sides[0]) == len(sides[1]) == 20
    assert sides[0] != sides[1]


def write(path: Path, *texts: str) -> str:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return str(path)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, True, [0.1]])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: object) -> None:
    path = write(tmp_path / "a.jsonl", "a", "b")
    with pytest.raises(TaskError, match=r"task\.options\.held_out .*: must be a share above 0"):
        open_task("data", {"path": path, "held_out": share})


def test_one_prompt_cannot_be_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "a", "a")
    with pytest.raises(TaskError, match="there is one distinct prompt, so none can be held out"):
        open_task("data", {"path": path, "held_out": 0.5})


def test_a_prompt_of_both_files_is_not_trained_on(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.jsonl", "a", "b", "c"), write(tmp_path / "b.jsonl", "b", "d")
    task = open_task("data", {"path": train, "held_out": test})
    assert said(list(task.train)) == {"a", "c"}
    assert said(list(task.held_out)) == {"b", "d"}
    assert task.notes == ["1 of 3 prompts to train on are also held out, and were left out"]
    with pytest.raises(TaskError, match=r"every prompt of .* is also held out: name another"):
        open_task("data", {"path": train, "held_out": train})


def test_a_file_has_no_other_splits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "a")
    with pytest.raises(TaskError, match=r"held_out 'dev' is no file here, and .* has no splits"):
        open_task("data", {"path": path, "held_out": "dev"})
    with pytest.raises(TaskError, match=r"held_out 'test' is no file here, and .* has no splits"):
        open_task("data", {"path": path, "held_out": "test"})
