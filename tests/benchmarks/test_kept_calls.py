"""Records of the store are put together into one answer a question."""

from typing import Any

from benchmarks.kept_calls import answer, says
from podium_service.prompts.verdict import Verdict

CHOICE: dict[str, Any] = {
    "order": [1, 0],
    "ids": ["X", "Y"],
    "scores": [0.75, 0.25],
    "explanations": ["", ""],
}


def record(reply: str, verdict: dict[str, Any] | None, tokens: int) -> dict[str, Any]:
    usage = {"calls": 1, "prompt_tokens": tokens, "completion_tokens": 1}
    return {"pass_index": 4, "reply": reply, "verdict": verdict, "usage": usage}


def test_an_answer_counts_every_call_of_its_question() -> None:
    found = answer("choice", 4, [record("Hm", None, 700), record("X", CHOICE, 750)])
    assert (found.index, found.calls, found.tokens) == (4, 2, 1452)
    assert found.verdict == Verdict(**CHOICE)
    assert not found.said


def test_a_choice_counts_if_its_text_names_one_label() -> None:
    verdict = Verdict(**CHOICE)
    assert says("choice", "X", verdict)
    assert says("choice", "=", verdict)
    assert not says("choice", "The", verdict)
    assert not says("choice", "B", verdict)


def test_a_rating_counts_if_it_is_a_digit() -> None:
    verdict = Verdict([0], ["QX7KM"], [0.5], [""])
    assert says("rating", "7", verdict)
    assert not says("rating", "<", verdict)
