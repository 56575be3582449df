"""Scorers by name: what counts as right, and which names are refused."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from podium_trainer.tasks.scorers import find_scorer, last_number
from podium_trainer.tasks.task import Message, Prompt, TaskError


def answer(text: str) -> Sequence[Message]:
    return [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    ("scorer", "reference", "text", "score"),
    [
        ("exact", "seven", " seven\n", 1),
        ("exact", "seven", "Seven", 0),
        ("exact", None, "seven", None),
        ("number", "7", "It is 7.", 1),
        ("number", "3 + 4 = 7\n#### 1,007", "So we get $1007.00", 1),
        ("number", "7", "7 or 8", 0),
        ("number", "7", "seven", 0),
        ("number", "-7", "5-7", 0),
        ("number", "-7", "5 = \u22127", 1),
        ("number", "seven", "7", None),
        ("contains", "Paris", "It's paris!", 1),
        ("contains", "New  York", "in new york.", 1),
        ("contains", "cat", "category", 0),
        ("contains", "C++", "I like C++.", 1),
        ("contains", " ", "anything", None),
    ],
)
def test_a_scorer_compares_the_last_answer(
    scorer: str, reference: str | None, text: str, score: float | None
) -> None:
    prompt = Prompt("a", [], reference=reference)
    assert find_scorer(scorer)(prompt, answer(text)) == score


@pytest.mark.parametrize(
    ("text", "number"),
    [("2,3", "3"), ("1,234,567.5", "1234567.5"), (".5", "0.5"), ("1e3", "1000"), ("v2", "2"),
     ("10%", "10"), ("x = -3.", "-3"), ("(5)-3", "3"), ("no", None)],
)  # fmt: skip
def test_the_last_number_is_read_exactly(text: str, number: str | None) -> None:
    found = last_number(text)
    assert (None if found is None else float(found)) == (None if number is None else float(number))


def test_what_a_tool_said_last_is_no_answer() -> None:
    messages = [*answer("7")[:1], {"role": "tool", "content": "7"}]
    assert find_scorer("exact")(Prompt("a", [], reference="7"), messages) == 0


def by_length(prompt: Prompt, messages: Sequence[Message]) -> float:
    return len(str(messages[-1]["content"])) / float(prompt.row["most"])


def test_a_function_of_the_user_reads_the_other_columns() -> None:
    score = find_scorer(f"{by_length.__module__}:by_length")
    assert score(Prompt("a", [], row={"most": 4}), answer("ab")) == 0.5


def test_an_unknown_scorer_is_refused() -> None:
    with pytest.raises(TaskError, match=r"scorer 'exacct': take one of exact, number, contains, m"):
        find_scorer("exacct")
    with pytest.raises(TaskError, match=r"task\.options\.scorer 'no\.such:thing' cannot be im"):
        find_scorer("no.such:thing")


def test_math_verify_is_asked_where_it_is_installed() -> None:
    if "math_verify" not in sys.modules and not is_installed("math_verify"):
        with pytest.raises(
            TaskError, match=r"needs math-verify: in the clone: pip install '\.\[data\]'"
        ):
            find_scorer("math_verify")
        return
    score = find_scorer("math_verify")
    half = Prompt("a", [], reference=r"\frac{1}{2}")
    assert score(half, answer(r"So it is $\boxed{0.5}$.")) == 1
    assert score(half, answer(r"So it is $\boxed{2}$.")) == 0
    assert score(Prompt("a", []), answer("1")) is None


def is_installed(name: str) -> bool:
    return any((Path(folder) / name).is_dir() for folder in sys.path)
