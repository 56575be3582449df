"""Criteria meant as gates: an empty attempt fails, and anything that may be an answer passes."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from podium_service.judges.checks.gates import is_opener
from tests.service.judges.checks.builders import answers, criterion, trajectory, used_tool

UNSEEN = [
    "",
    " ",
    "\n\t",
    "\u200b",
    "\x00\x1b",
    "\ufeff \u2060",
    "\u3164",
    "\u2800",
    "\xad\u200e",
    "\u034f",
]


@pytest.mark.parametrize("text", UNSEEN)
def test_invisible_text_is_empty(text: str) -> None:
    assert not criterion("not_empty").holds(answers(text), None)
    assert criterion("not_empty").holds(answers(text + "4"), None)
    assert criterion("not_opener_only").holds(answers(text), None)  # it is not_empty's to say


@pytest.mark.parametrize("text", [".", "0", "é", "😊", "न", "\u0627", "答", "$"])
def test_visible_text_is_not_empty(text: str) -> None:
    assert criterion("not_empty").holds(answers(text), None)


def test_a_tool_call_is_neither_empty_nor_an_opener() -> None:
    silent = used_tool("f", "r")
    silent.messages.pop()
    assert criterion("not_empty").holds(silent, None)
    silent.messages[1].content = "Let me think step by step."
    assert criterion("not_opener_only").holds(silent, None)


def test_only_the_agents_texts_count() -> None:
    asked_only = trajectory({"role": "user", "content": "q"})
    assert not criterion("not_empty").holds(asked_only, None)
    opened = answers("Let me think.")
    opened.messages[0].content = "What is 2 + 2?"
    assert not criterion("not_opener_only").holds(opened, None)


OPENERS = [
    "Sure, I'd be happy to help!", "Let me think step by step.", "Thought process:",
    "Thought Process",
    "Solution:", "Solution", "**Solution:**", "### Answer:\n", ":", ".", ",", "...", " : ",
    "Answer:",
    "Certainly! Here is the answer:", "Let's solve this problem step by step.", "解", "かいせつ",
    "Respuesta", "Okay, let's break this down step by step.\n\nStep 1:", "The final answer is:",
    "Let’s think step by step…", "To solve this problem, let's think step by step.",
    "<think>\n</think>",
    "Great question! Let me think about this carefully.",
    "Sure! 😊 I'd be happy to help with that.",
    "Here is my solution to the problem:", "I\u200b'll help you.",
    "让我们一步一步地思考。", "答案：",
    "Vamos a pensar paso a paso.",
    "Давайте подумаем шаг за шагом.",
    "Réfléchissons étape par étape.",
]  # fmt: skip
NO_OPENERS = [
    "4", "yes", "No.", "B", "(B)", "A.", "Paris", "Sure", "Sure!", "Of course.",
    "Yes, absolutely.", "first",
    "ok", "Great!",
    "-", "+", "*", "**", "#", "$", "=", "😊", "Analysis", "Answer", "solutions",
    "Thinking",
    "Answer: yes", "Answer: absolutely", "Solution: 42", "Solution: first", "The answer is 4.",
    "The answer is: great", "x: 3", "Let me think step by step. 2+2=4.", "Let's see: 4",
    "I'm happy.",
    "I can start now.", "Step 1: add", "Sure, I'd be happy to help! What is your user id?",
    "\\boxed{4}",
    "Let me think.\n```\n7\n```", "I will go.", "Thank you!", "Hello! How can I help you today?",
]  # fmt: skip


@pytest.mark.parametrize("text", OPENERS)
def test_an_opener_fails_not_opener_only(text: str) -> None:
    assert not criterion("not_opener_only").holds(answers(text), None)


@pytest.mark.parametrize("text", NO_OPENERS)
def test_a_possible_answer_is_no_opener(text: str) -> None:
    assert criterion("not_opener_only").holds(answers(text), None)


@given(st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True))
def test_a_word_or_number_is_an_answer_also_after_an_opener(word: str) -> None:
    assume(word.lower() not in ("solution", "respuesta"))
    assert not is_opener(word)
    assert not any(is_opener(f"{opener} {word}") for opener in OPENERS[:5])


@given(st.text(min_size=1), st.sampled_from(OPENERS))
def test_a_text_with_a_digit_is_no_opener(text: str, opener: str) -> None:
    assume("Step 1" not in opener)
    assert not is_opener(f"{opener}\n{text}7{text}")


def test_one_answer_among_openers_of_several_turns_is_enough() -> None:
    talk = [{"role": "user", "content": "q"}]
    for opener in OPENERS[:3]:
        talk += [{"role": "assistant", "content": opener}, {"role": "user", "content": "and?"}]
    assert not criterion("not_opener_only").holds(trajectory(*talk), None)
    talk.insert(3, {"role": "assistant", "content": "4"})
    assert criterion("not_opener_only").holds(trajectory(*talk), None)


def test_an_opener_that_is_the_reference_is_an_answer() -> None:
    assert criterion("not_opener_only").holds(answers("Solution"), "solution")
    assert not criterion("not_opener_only").holds(answers("Solution"), "suspension")


@pytest.mark.parametrize(
    "unit",
    ["sure ", "sure,", "let me think. ", "a", ".", "to solve this ", "\n ", "hm", "*_", "x."],
)
def test_openers_are_recognised_in_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    is_opener(text)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("reason", "whole"), [("length", False), ("stop", True), (None, True)])
def test_a_trajectory_cut_off_at_its_limit_is_truncated(reason: str | None, whole: bool) -> None:
    cut = answers("and then")
    cut.finish_reason = reason
    assert criterion("not_truncated").holds(cut, None) is whole
