"""Choices and ratings are read from token probabilities or text; canaries are checked."""

import json
from math import exp, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.prompts.forms import FORMS, CanaryMisplaced
from podium_service.prompts.reply import Reply, Tokens
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Fault, Verdict
from podium_service.prompts.wording import DIGITS
from podium_service.scoring.estimate import NATS_PER_SCORE

CHOICE = Prompt("choice", [], ["K", "B"], [3, 1])
RATING = Prompt("rating", [], ["BCDFG"], [2])
BEST = Prompt("best", [], ["B", "K", "T"], [2, 0, 1])
YES_NO = Prompt("yes_no", [], ["BCDFG"], [2])


def reply(text: str, tokens: list[Any] | None = None, finish_reason: str = "stop") -> Reply:
    return Reply(text, finish_reason, None, Tokens(), "m", tokens)


def token(text: str, tops: dict[str, float] | None = None, chance: float = 1.0) -> dict[str, Any]:
    """Build a token of the reply, with its likeliest alternatives by probability."""
    entry: dict[str, Any] = {"token": text, "logprob": log(chance)}
    if tops is not None:
        entry["top_logprobs"] = [
            {"token": top, "logprob": log(probability)} for top, probability in tops.items()
        ]
    return entry


def choice(text: str, tokens: list[Any] | None = None, finish_reason: str = "stop") -> float:
    """Read the probability that the first of two is better."""
    verdict = FORMS["choice"].read(reply(text, tokens, finish_reason), CHOICE)
    assert verdict.order == [3, 1]
    assert sum(verdict.scores) == pytest.approx(1)
    return verdict.scores[0]


def rating(text: str, tokens: list[Any] | None = None) -> float:
    """Read the expected digit."""
    return 9 * FORMS["rating"].read(reply(text, tokens), RATING).scores[0]


def test_the_probabilities_of_the_labels_are_scaled_to_sum_to_1() -> None:
    assert choice("K", [token("K", {"K": 0.6, "B": 0.2, "The": 0.2})]) == pytest.approx(0.75)


def test_a_tie_counts_half_for_each() -> None:
    assert choice("=", [token("=", {"=": 0.5, "K": 0.4, "B": 0.1})]) == pytest.approx(0.65)
    assert choice("=") == 0.5


@pytest.mark.parametrize("blank", [" ", "\u0120", "\u2581", "\n", '"', "**", "("])
def test_a_label_is_recognised_after_blanks_and_quotes(blank: str) -> None:
    tops = {f"{blank}K": 0.3, f"{blank}B": 0.1}
    assert choice(f"{blank}K", [token(f"{blank}K", tops)]) == pytest.approx(0.75)


def test_tokens_of_the_same_label_are_added() -> None:
    tops = {"K": 0.2, " K": 0.2, "k": 0.1, " K.": 0.1, "B": 0.1, " B": 0.1}
    assert choice("K", [token("K", tops)]) == pytest.approx(0.6 / 0.8)


def test_reasoning_before_the_answer_is_skipped() -> None:
    words = [token(word, {word: 1.0}) for word in ("Both", " B", " and", " K", " try", ". So")]
    tokens = [*words, token(" B", {" B": 0.8, " K": 0.2})]
    assert choice("Both B and K try. So B", tokens) == pytest.approx(0.2)


def test_a_reply_that_starts_with_its_answer_is_read_there() -> None:
    tokens = [token("K", {"K": 0.7, "B": 0.3}), token(" beats", {}), token(" B", {" B": 1.0})]
    assert choice("K beats B", tokens) == pytest.approx(0.7)
    assert choice("K beats B") == 1
    assert choice("**B**\n\nK is worse.") == 0
    assert rating("8\n\n1. It is good.\n2. It is short.") == pytest.approx(8)


def test_a_label_in_a_thinking_block_is_no_answer() -> None:
    thought = [token("<think>", {}), token("K", {"K": 1.0}), token("</think>", {})]
    assert choice("<think>K</think>B", [*thought, token("B", {"B": 0.9, "K": 0.1})]) == (
        pytest.approx(0.1)
    )
    assert choice("<think>K, no</think> B") == 0
    with pytest.raises(Fault, match="it is empty"):
        choice("<think>K or B, B", [*thought[:2], token(" or", {}), token(" B", {" B": 1.0})])


def test_reasoning_only_among_the_tokens_is_no_answer() -> None:
    tokens = [token("B", {"B": 1.0}), token(" it is.", {}), token("K", {"K": 0.9, "B": 0.1})]
    assert choice("K", tokens) == pytest.approx(0.9)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length", "MAX_TOKENS"])
def test_a_cut_off_reply_counts_only_if_its_first_line_answers(reason: str) -> None:
    assert choice("K\n\nIt is better, since B", finish_reason=reason) == 1
    tokens = [token("K", {"K": 0.9, "B": 0.1}), token(" is better", {}), token(" than", {})]
    for text in ("K is better than", "I first look at K, then at B", "First: K. But"):
        with pytest.raises(Fault):
            choice(text, tokens if text.startswith("K") else None, finish_reason=reason)


def test_labels_not_drawn_count_where_a_reply_was_cut_off() -> None:
    likely = [token("The", {"The": 0.8, "K": 0.15, "B": 0.05})]
    assert choice("The", likely, "length") == pytest.approx(0.75)
    hardly = [token("The", {"The": 0.95, "K": 0.02, "B": 0.01})]
    alone = [token("The", {"The": 0.8, "K": 0.15})]
    thoughts = [*likely, token(" B", {" B": 1.0}), token(" tries", {})]
    for text, tokens, finish_reason in [
        ("The", likely, "stop"),  # it is asked once more, because the model said nothing else
        ("The", hardly, "length"),
        ("The", alone, "length"),
        ("The B tries", thoughts, "length"),
    ]:
        with pytest.raises(Fault):
            choice(text, tokens, finish_reason)


def test_a_drawn_label_that_is_not_among_the_likeliest_counts() -> None:
    drawn = token("K", {"B": 0.6, "The": 0.2}, chance=0.2)
    assert choice("K", [drawn]) == pytest.approx(0.25)


@pytest.mark.parametrize("missing", [None, []])
def test_the_text_counts_without_logprobs(missing: list[Any] | None) -> None:
    assert choice("K", missing) == 1
    assert choice("I prefer B.", missing) == 0
    assert rating("7", missing) == pytest.approx(7)


@pytest.mark.parametrize(
    "garbage",
    [
        [None, 3, "K"],
        [{}],
        [{"token": "K"}],
        [{"token": "K", "top_logprobs": None}],
        [{"token": "K", "top_logprobs": "no"}],
        [{"token": "K", "top_logprobs": [None, 1, {}, {"token": None, "logprob": "x"}]}],
        [{"token": "K", "logprob": -9999.0, "top_logprobs": []}],
        [{"token": None, "logprob": 0}],
    ],
)
def test_the_text_counts_with_garbage_for_logprobs(garbage: list[Any]) -> None:
    assert choice("K", garbage) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["token", "logprob", "top_logprobs"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4), st.sampled_from(["K", "", "7", "no", "<think>", "B = K", "yes"]))
def test_any_reply_is_a_verdict_or_a_fault(tokens: list[Any], text: str) -> None:
    for form, prompt in (
        ("choice", CHOICE),
        ("rating", RATING),
        ("best", BEST),
        ("yes_no", YES_NO),
    ):
        try:
            verdict = FORMS[form].read(reply(text, tokens), prompt)
        except Fault:
            continue
        assert all(0 <= score <= 1 for score in verdict.scores)


def best(text: str, tokens: list[Any] | None = None) -> list[float]:
    """Read the utility of each of three letters, in nats."""
    verdict = FORMS["best"].read(reply(text, tokens), BEST)
    assert (verdict.order, verdict.ids) == ([2, 0, 1], ["B", "K", "T"])
    return [NATS_PER_SCORE * (score - 1) for score in verdict.scores]


def test_letters_get_their_log_probabilities_among_all() -> None:
    tops = {"K": 0.3, " K": 0.1, "B": 0.2, "T": 0.2, "The": 0.2}
    assert best("K", [token("K", tops)]) == pytest.approx([log(0.25), log(0.5), log(0.25)])


def test_an_unlisted_letter_is_as_likely_as_the_last_one_listed() -> None:
    tops = {"K": 0.6, "B": 0.3, "The": 0.05, "A": 0.05}
    total = 0.6 + 0.3 + 0.05
    by_hand = [log(0.3 / total), log(0.6 / total), log(0.05 / total)]
    assert best("K", [token("K", tops)]) == pytest.approx(by_hand)


def test_no_letter_falls_below_the_floor_of_the_scale() -> None:
    tops = {"K": 1 - 2e-8, "B": 1e-8, "T": exp(-600)}
    assert best("K", [token("K", tops)]) == pytest.approx([-12, 0, -12], abs=1e-6)


@pytest.mark.parametrize("text", ["K", "**K**", "K."])
def test_one_letter_without_probabilities_is_one_draw(text: str) -> None:
    assert best(text) == pytest.approx([log(0.25), log(0.5), log(0.25)])


@pytest.mark.parametrize(
    ("tops", "chance"),
    [
        ({"Yes": 0.3, " yes": 0.2, "YES": 0.1, "No": 0.2, "I": 0.2}, 0.75),
        ({"No": 0.52, "Yes": 0.48}, 0.48),
        ({"yes": 0.9, "Sure": 0.1}, 1.0),
    ],
)
def test_the_chance_of_a_yes_is_that_over_all_spellings(
    tops: dict[str, float], chance: float
) -> None:
    word = next(iter(tops))
    verdict = FORMS["yes_no"].read(reply(word, [token(word, tops)]), YES_NO)
    assert verdict.scores == [pytest.approx(chance)]


@pytest.mark.parametrize(("text", "score"), [("Yes.", 1), ("no", 0), ("**NO**, it lacks", 0)])
def test_a_bare_yes_is_1_and_a_bare_no_0(text: str, score: float) -> None:
    assert FORMS["yes_no"].read(reply(text), YES_NO).scores == [score]


@pytest.mark.parametrize(
    ("text", "chance"),
    [
        ('{"B": {"explanation": "wrong", "score": 0.2}, "K": {"score": 0.9}}', 1),
        ('```json\n{"K": 0.1, "B": "0.4"}\n```', 0),
        ('{"scores": [{"id": "K", "score": 0.5}, {"id": "B", "score": 0.5}]}', 0.5),
    ],
)
def test_a_score_for_each_letter_names_the_best(text: str, chance: float) -> None:
    assert choice(text) == chance


@pytest.mark.parametrize("text", ['{"K": 0.9}', '{"K": 0.9, "B": 9}', '{"K": 1, "B": 0, "T": 0}'])
def test_scores_that_are_no_verdict_name_no_letter(text: str) -> None:
    with pytest.raises(Fault, match="not clear which of K, B, ="):
        choice(text)


def test_the_best_of_several_may_be_told_by_their_scores() -> None:
    told = FORMS["best"].read(reply('{"B": 0.3, "K": 0.8, "T": 0.1}'), BEST)
    assert told.scores == FORMS["best"].read(reply("K"), BEST).scores
    with pytest.raises(Fault, match="not clear"):
        FORMS["best"].read(reply('{"B": 0.8, "K": 0.8, "T": 0.1}'), BEST)


def test_letters_inside_words_are_no_labels() -> None:
    with pytest.raises(Fault, match="names none of K, B, ="):
        choice("Kind of Both")
    tokens = [token("Kind", {"K": 1.0}), token(": the better is", {}), token(" B", {" B": 1.0})]
    assert choice("Kind: the better is B", tokens) == 0


def test_the_token_that_answers_is_found_by_the_words() -> None:
    why = [token("\n\n", {}), token("B", {"B": 1.0}), token(" skipped", {}), token(" it.", {})]
    first = [token("Answer", {}), token(":", {}), token(" K", {" K": 0.7, " B": 0.3})]
    assert choice("Answer: K\n\nB skipped it.", [*first, *why]) == pytest.approx(0.7)
    rated = [token("Rating", {}), token(": ", {}), token("8", {"8": 0.5, "6": 0.5})]
    steps = [token("\nThe agent took ", {}), token("4", {"4": 1.0}), token(" steps.", {})]
    assert rating("Rating: 8\nThe agent took 4 steps.", [*rated, *steps]) == pytest.approx(7)
    spoken = [token("K", {"K": 0.9, "B": 0.1}), token(" explains it,", {}), token(" B", {" B": 1})]
    with pytest.raises(Fault, match="not clear"):
        choice("K explains it, B", spoken)


def test_thoughts_count_if_they_end_in_the_answer_and_the_reply() -> None:
    thoughts = "K explains it.\nB"
    tokens = [
        token("K", {"K": 1.0}),
        token(" explains it.\n", {}),
        token("B", {"B": 0.8, "K": 0.2}),
    ]
    named = Reply("", "stop", None, Tokens(), "m", tokens, thoughts)
    assert FORMS["choice"].read(named, CHOICE).scores[0] == pytest.approx(0.2)
    for text, reason in ((thoughts, "length"), ("B explains it, K does not.", "stop")):
        with pytest.raises(Fault, match="it is empty"):
            FORMS["choice"].read(Reply("", reason, None, Tokens(), "m", tokens, text), CHOICE)


def test_the_rating_is_the_expected_digit() -> None:
    assert rating("7", [token("7", {"7": 0.5, "8": 0.25, " 6": 0.25})]) == pytest.approx(7)
    assert rating("7", [token("7", {"7": 0.6, "9": 0.2})]) == pytest.approx(7.5)


def test_a_number_of_two_digits_is_no_rating() -> None:
    tops = {"7": 0.5, "78": 0.25, "89": 0.25}
    assert rating("7", [token("7", tops)]) == pytest.approx(7)
    with pytest.raises(Fault):
        rating("78")
    with pytest.raises(Fault):
        rating("78", [token("78", {"78": 0.9})])
    with pytest.raises(Fault):
        rating("7.5")


@pytest.mark.parametrize("text", ["7/9", "7 / 9", "7 out of 9", "Rating: 7/9", "7 out of 9."])
def test_the_end_of_the_scale_is_not_the_rating(text: str) -> None:
    assert rating(text) == pytest.approx(7)


@pytest.mark.parametrize("text", ["7/10", "7 out of 10", "Rating: 7/10", "4/5"])
def test_a_rating_on_another_scale_is_a_fault(text: str) -> None:
    with pytest.raises(Fault):
        rating(text, [token(text[0], {text[0]: 1.0}), token(text[1:], {})])


@pytest.mark.parametrize("digit", DIGITS)
def test_digits_are_scaled_to_0_to_1(digit: str) -> None:
    assert FORMS["rating"].read(reply(digit), RATING).scores == [round(int(digit) / 9, 12)]


@pytest.mark.parametrize("form", FORMS)
def test_a_correction_names_the_fault_and_the_possible_answers(form: str) -> None:
    prompt = {"choice": CHOICE, "rating": RATING}.get(
        form, Prompt("scores", [], ["X", "Y"], [0, 1])
    )
    said = FORMS[form].correction("it is empty", prompt.ids)
    assert "it is empty" in said
    wanted = {"rating": ["digit"], "yes_no": ["yes or no"]}.get(form, prompt.ids)
    assert all(word in said for word in wanted)


def scored(given_scores: dict[str, float], words: str = "") -> Verdict:
    ids = [shown for shown in given_scores if shown != "ZZZZZ"]
    prompt = Prompt("scores", [], ids, list(range(len(ids))), canary="ZZZZZ")
    entries = {
        shown: {"explanation": words or shown, "score": score}
        for shown, score in given_scores.items()
    }
    return FORMS["scores"].read(reply(json.dumps(entries)), prompt)


def test_the_canary_is_checked_and_left_out() -> None:
    verdict = scored({"AAAAA": 0.9, "ZZZZZ": 0.1, "BBBBB": 0.2, "CCCCC": 0.5})
    assert verdict.ids == ["AAAAA", "BBBBB", "CCCCC"]
    assert verdict.scores == [0.9, 0.2, 0.5]
    assert verdict.order == [0, 1, 2]
    assert len(verdict.explanations) == 3


def test_an_explanation_does_not_show_the_canarys_id() -> None:
    verdict = scored({"AAAAA": 0.9, "BBBBB": 0.5, "ZZZZZ": 0.1}, "better than ZZZZZ")
    assert verdict.explanations == ["better than a planted bad one"] * 2


def test_a_canary_among_the_last_third_is_low_enough() -> None:
    # Seven shown: the last third holds two, so two others may be worse than it.
    others = dict(zip(["A", "B", "C", "D", "E", "F"], [0.1, 0.2, 0.5, 0.6, 0.7, 0.8], strict=True))
    assert scored({**others, "ZZZZZ": 0.3}).scores == list(others.values())
    with pytest.raises(CanaryMisplaced, match="beats 3 of 6"):
        scored({**others, "ZZZZZ": 0.55})
    with pytest.raises(CanaryMisplaced, match="beats 1 of 2"):
        scored({"A": 0.1, "B": 0.9, "ZZZZZ": 0.5})


def test_a_verdict_without_the_canary_is_a_fault() -> None:
    prompt = Prompt("scores", [], ["A", "B"], [0, 1], canary="ZZZZZ")
    with pytest.raises(Fault, match="ZZZZZ missing"):
        FORMS["scores"].read(reply('{"A": {"score": 1}, "B": {"score": 0}}'), prompt)
