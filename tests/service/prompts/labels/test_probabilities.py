"""Labels are read from the probabilities of tokens, or from text."""

from math import exp, log
from typing import Any

import pytest

from podium_service.prompts.labels import label_logprobs, read_probabilities
from podium_service.prompts.reply import Reply, Tokens


def reply(text: str, tokens: list[Any] | None = None, finish_reason: str = "stop") -> Reply:
    return Reply(text, finish_reason, None, Tokens(), "m", tokens)


def token(text: str, tops: dict[str, float]) -> dict[str, Any]:
    """Build a token of the reply, with its likeliest alternatives by probability."""
    listed = [{"token": top, "logprob": log(chance)} for top, chance in tops.items()]
    return {"token": text, "logprob": log(tops.get(text, 1e-6)), "top_logprobs": listed}


def test_log_probabilities_are_summed_and_not_scaled() -> None:
    answer = token("B", {"B": 0.3, " B": 0.1, "A": 0.2, "The": 0.4})
    logprobs = label_logprobs(reply("B", [answer]), ["A", "B"])
    assert logprobs is not None
    assert [exp(each) for each in logprobs] == pytest.approx([0.2, 0.4])


def test_an_unlisted_label_gets_the_lowest_log_probability() -> None:
    answer = token("B", {"B": 0.9, "The": 0.02, "A": 0.05})
    logprobs = label_logprobs(reply("B", [answer]), ["A", "B", "C"])
    assert logprobs is not None
    assert [exp(each) for each in logprobs] == pytest.approx([0.05, 0.9, 0.02])


@pytest.mark.parametrize(
    "tokens", [None, [], [{"token": "B"}], [token("B", {"B": 0.4})], [{}], ["B"]]
)
def test_there_are_no_log_probabilities_without_the_endpoints(tokens: list[Any] | None) -> None:
    assert label_logprobs(reply("B", tokens), ["A", "B"]) is None


def test_a_label_may_be_a_word_in_any_case() -> None:
    answer = token("Yes", {"Yes": 0.5, " yes": 0.1, "YES": 0.1, "No": 0.2, " no": 0.1})
    assert read_probabilities(reply("Yes", [answer]), ["yes", "no"]) == pytest.approx([0.7, 0.3])
    assert read_probabilities(reply("**NO**, it is not."), ["yes", "no"]) == [0, 1]
    logprobs = label_logprobs(reply("Yes", [answer]), ["yes", "no"])
    assert logprobs == pytest.approx([log(0.7), log(0.3)])


def test_full_width_letters_are_the_same_letters() -> None:
    answer = token("\uff22", {"\uff22": 0.6, "A": 0.3, "\uff21": 0.1})
    assert read_probabilities(reply("\uff22", [answer]), ["A", "B"]) == pytest.approx([0.4, 0.6])


@pytest.mark.parametrize("logprob", [-9999.0, None, "-0.5"])
def test_a_label_of_unknown_probability_is_read_from_text(logprob: Any) -> None:
    answer = {**token("B", {"A": 0.9, "The": 0.1}), "logprob": logprob}
    assert read_probabilities(reply("B", [answer]), ["A", "B"]) == [0, 1]
    assert label_logprobs(reply("B", [answer]), ["A", "B"]) is None


@pytest.mark.parametrize(("own", "other"), [(0.0, 0.0), (0.93, 0.05), (-0.1, -0.2)])
def test_more_than_all_of_the_probability_is_none(own: float, other: float) -> None:
    tops = [{"token": "B", "logprob": own}, {"token": "A", "logprob": other}]
    answer = {"token": "B", "logprob": own, "top_logprobs": tops}
    assert read_probabilities(reply("B", [answer]), ["A", "B"]) == [0, 1]
    assert label_logprobs(reply("B", [answer]), ["A", "B"]) is None


def test_an_alternative_listed_twice_counts_once() -> None:
    answer = token("B", {"B": 0.6, "A": 0.4})
    answer["top_logprobs"] *= 2
    assert read_probabilities(reply("B", [answer]), ["A", "B"]) == pytest.approx([0.4, 0.6])
