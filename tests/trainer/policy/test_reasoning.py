"""Thoughts are told from answers, by the marks of each family of models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_trainer.policy.reasoning import (
    FORMATS,
    Turn,
    find_opening,
    guess_reasoning_format,
    split_thoughts,
)

THINK = FORMATS["think"]


@pytest.mark.parametrize(
    ("text", "is_open", "turn"),
    [
        ("4", False, Turn("4")),
        (" 4\n", False, Turn(" 4\n")),
        ("<think>2 and 2</think>4", False, Turn("4", "2 and 2")),
        ("\n<think>\n2 and 2\n</think>\n\n4\n", False, Turn("4\n", "2 and 2")),
        ("2 and 2\n</think>\n\n4", True, Turn("4", "2 and 2")),
        ("<think>2 and 2\n</think>\n\n4", True, Turn("4", "2 and 2")),
        ("2 and 2\n</think>\n\n4", False, Turn("4", "2 and 2")),
        ("<think>\n\n</think>\n\n4", False, Turn("4")),
        ("<think>2 and", False, Turn("", "2 and")),
        ("2 and", True, Turn("", "2 and")),
        ("", True, Turn("")),
        ("", False, Turn("")),
        ("<think>a</think><think>b</think>4", False, Turn("4", "a</think><think>b")),
        ("<think>a</think>\n<think>b", False, Turn("", "a\nb")),
        ("Write <think> first.", False, Turn("Write <think> first.")),
        ("<think>a</think>Write <think> first.", False, Turn("Write <think> first.", "a")),
    ],
)
def test_thoughts_are_split_from_the_answer(text: str, is_open: bool, turn: Turn) -> None:
    assert split_thoughts(text, THINK, is_open=is_open) == turn


PARTS = st.lists(st.sampled_from(["<think>", "</think>", " ", "\n", "a", "4"]), max_size=8)


@given(parts=PARTS, is_open=st.booleans())
def test_no_answer_holds_a_closing_mark_and_no_text_is_lost(
    parts: list[str], is_open: bool
) -> None:
    text = "".join(parts)
    turn = split_thoughts(text, THINK, is_open=is_open)
    assert "</think>" not in turn.answer
    assert not turn.answer.lstrip().startswith("<think>")
    both = turn.thoughts + turn.answer
    assert [text.count(letter) for letter in "a4"] == [both.count(letter) for letter in "a4"]


@pytest.mark.parametrize(("name", "form"), [(n, f) for n, f in FORMATS.items() if f])
def test_every_format_finds_its_own_marks(name: str, form: object) -> None:
    marks = FORMATS[name]
    assert marks is not None
    text = f"{marks.opening}a{marks.closing}b"
    assert split_thoughts(text, marks) == Turn("b", "a")
    assert find_opening(f"<|Assistant|>{marks.opening}\n", marks) == f"{marks.opening}\n"
    assert guess_reasoning_format(f"... {marks.opening} ...") == name


def test_a_closed_thought_in_the_prompt_opens_none() -> None:
    assert find_opening("assistant\n<think>\n\n</think>\n\n", THINK) == ""
    assert find_opening("assistant\n", THINK) == ""
    assert find_opening("assistant\n<think>\n", None) == ""


def test_without_a_format_all_of_a_text_is_answer() -> None:
    assert FORMATS["none"] is None
    assert split_thoughts("<think>a</think>b", None) == Turn("<think>a</think>b")
    assert guess_reasoning_format("{{ messages }}") == "think"
