"""Any reply of a judge is parsed as a verdict or as a fault in words."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium_service.prompts.templates import build_prompt
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.verdict import MAX_EXPLANATION_CHARS, Fault, Verdict, parse_verdict
from tests.service.helpers import cpu_s

IDS, ORDER = ["BCD", "FGH", "JKM"], [2, 0, 1]
GOOD: dict[str, Any] = {
    "BCD": {"explanation": "best", "score": 0.9},
    "FGH": {"explanation": "middling", "score": 0.5},
    "JKM": {"explanation": "worst", "score": 0},
}
DRAFT = json.dumps({shown_id: {"explanation": "draft", "score": 1} for shown_id in IDS})


def read(reply: str, ids: Sequence[str] = IDS, order: Sequence[int] = ORDER) -> Verdict:
    return parse_verdict(reply, ids, order)


def fault(reply: str) -> str:
    with pytest.raises(Fault) as caught:
        read(reply)
    return str(caught.value)


def with_score(raw: str) -> str:
    """Return a verdict whose middle score is this JSON."""
    return json.dumps(GOOD).replace("0.5", raw)


def test_a_verdict_is_read_by_id_and_ordered_by_slot_or_body() -> None:
    verdict = read(json.dumps(GOOD))
    assert verdict == Verdict(ORDER, IDS, [0.9, 0.5, 0.0], ["best", "middling", "worst"])
    assert verdict.by_body() == [0.5, 0.0, 0.9]  # slot 0 shows body 2, slot 1 body 0, slot 2 body 1


def test_the_order_of_the_keys_does_not_matter() -> None:
    assert read(json.dumps(dict(reversed(GOOD.items())))) == read(json.dumps(GOOD))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("\n\n  ", "  \n"),
        ("```json\n", "\n```"),
        ("```\n", "\n```"),
        ("Here is my verdict:\n", "\nI hope {this} helps."),
        ("I compare {BCD} with {x: 1} first. ", "\n\n{}"),
        ("<think>BCD looks {good}</think>", ""),
        ("<THINKING>\nhm\n</THINKING>\n```json\n", "\n```"),
        ("its opening tag is cut off </think> ", ""),
        ("<think>one</think><think>two</think>", ""),
        (r"\boxed{", "}"),
        ("\ufeff", "\0"),
    ],
)
def test_thinking_fences_and_prose_around_json_are_skipped(before: str, after: str) -> None:
    reply = before + json.dumps(GOOD, indent=1) + after
    assert read(reply).scores == [0.9, 0.5, 0.0]


def test_a_draft_in_the_thinking_block_does_not_count() -> None:
    assert read(f"<think>maybe {DRAFT}</think>{json.dumps(GOOD)}").scores == [0.9, 0.5, 0.0]
    assert fault(f"<think>maybe {DRAFT}</think>") == "it is empty"
    assert fault(f"<think>maybe {DRAFT}") == "it is empty"


@pytest.mark.parametrize("end", [",}", ", \n}", ",\n\t}\n```"])
def test_a_comma_may_follow_the_last_member(end: str) -> None:
    quoted = {**GOOD, "BCD": {"explanation": "f(a,]", "score": 0.9}}
    assert read(json.dumps(quoted)[:-1] + end).scores == [0.9, 0.5, 0.0]
    assert read(json.dumps(quoted).replace("}", ",}")).scores == [0.9, 0.5, 0.0]
    assert read(json.dumps(quoted)).explanations[0] == "f(a,]"


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("", "</think>"),
        ("<think>a</think> <think>", "</think>"),
        ("<reasoning>", "</reasoning>"),
        ("<scratchpad>", "</scratchpad>"),
        ("<analysis>", "</analysis>"),
        ("[THINK]", "[/THINK]"),
        ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ],
)
def test_thoughts_end_at_their_last_closing_tag(opening: str, closing: str) -> None:
    assert read(f"{opening}{DRAFT}{closing}{json.dumps(GOOD)}").scores == [0.9, 0.5, 0.0]
    assert fault(f"{opening}{DRAFT}{closing}") == "it is empty"
    assert read(f"{json.dumps(GOOD)}<think>{DRAFT}").scores == [0.9, 0.5, 0.0]


def test_a_cut_off_reply_counts_only_if_it_is_all_verdict() -> None:
    good = json.dumps(GOOD)
    for whole in (good, f"<think>{DRAFT}</think>\n{good}\n\n\n", f"```json\n{good}\n```\n"):
        assert parse_verdict(whole, IDS, ORDER, "alone").scores == [0.9, 0.5, 0.0]
    for draft in (f"First: {good}", f"{good} but wait", f"{good} {DRAFT}", f"{good}<think>no"):
        with pytest.raises(Fault):
            parse_verdict(draft, IDS, ORDER, "alone")


def test_thoughts_hold_a_verdict_only_if_they_end_in_it() -> None:
    good = json.dumps(GOOD)
    for thoughts in (good, f"I compare {DRAFT} first. So:\n```json\n{good}\n```"):
        assert parse_verdict(thoughts, IDS, ORDER, "end").scores == [0.9, 0.5, 0.0]
    for draft in ("", "hm", f"{good} is a first idea."):
        with pytest.raises(Fault, match="it is empty"):
            parse_verdict(draft, IDS, ORDER, "end")


def test_the_last_verdict_of_a_reply_counts() -> None:
    assert read(f"First {DRAFT}, but then {json.dumps(GOOD)}").scores == [0.9, 0.5, 0.0]
    assert read(f'{json.dumps(GOOD)} and {{"note": "done"}}').scores == [0.9, 0.5, 0.0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I cannot decide. You could write, for example, ", ""),
        ("Example:\n```json\n", "\n```\nI need more context."),
        ("", "\n\nWait, BCD is wrong."),
        ("", "\nI made a mistake: FGH is better."),
        ("", "\nActually, FGH is best."),
        ("", "\nThese scores are only an example."),
        ("The schema: ", "\nI cannot score them without the task."),
        ("", "\n\u6211\u9519\u4e86\u3002"),
    ],
)
def test_json_that_is_an_example_or_taken_back_is_a_fault(before: str, after: str) -> None:
    assert "take it back" in fault(before + json.dumps(GOOD) + after)


@pytest.mark.parametrize("between", ["", "\nAlternatively:\n", "\nThe opposite is "])
def test_two_verdicts_that_disagree_are_a_fault(between: str) -> None:
    assert "different scores" in fault(json.dumps(GOOD) + between + DRAFT)
    assert read(json.dumps(GOOD) + between + json.dumps(GOOD)).scores == [0.9, 0.5, 0.0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0 is best, 1 is worst: ", ""),
        ("", "\nA lower score is better."),
        ("On a scale of 0 to 10: ", ""),
    ],
)
def test_scores_of_another_meaning_are_a_fault(before: str, after: str) -> None:
    assert "from 0, the worst" in fault(before + json.dumps(GOOD) + after)


@pytest.mark.parametrize("name", ["ranks", "errors"])
def test_bare_numbers_that_are_no_scores_are_a_fault(name: str) -> None:
    bare = {"BCD": 1, "FGH": 0, "JKM": 1}
    assert "not one of the ids shown" in fault(json.dumps({name: bare}))
    assert read(json.dumps({name: bare, "scores": GOOD})).scores == [0.9, 0.5, 0.0]
    assert read(json.dumps({"rankings": GOOD})).scores == [0.9, 0.5, 0.0]
    assert "not one of the ids shown" in fault(json.dumps({"draft": GOOD}))


@pytest.mark.parametrize("words", ["leaves <think> open", "<think>a</think>", "no </think> in it"])
def test_an_explanation_may_contain_thinking_tags(words: str) -> None:
    quoted = {**GOOD, "BCD": {"explanation": words, "score": 0.9}}
    assert read(json.dumps(quoted)).scores == [0.9, 0.5, 0.0]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("I would rather not.", "there is no JSON object in it"),
        ("[0.9, 0.5, 0.0]", "there is no JSON object in it"),
        ('["BCD", "FGH", "JKM"]', "there is no JSON object in it"),
        ("0.9", "there is no JSON object in it"),
        ("{}", "BCD, FGH, JKM missing"),
        ('{"BCD": {"score": 1}}', "FGH, JKM missing"),
        (json.dumps({**GOOD, "ZZZ": {"score": 1}}), "'ZZZ' is not one of the ids shown"),
        (json.dumps({"t0": {"score": 1}}), "'t0' is not one of the ids shown"),
        (json.dumps({**GOOD, "bcd": {"score": 1}}), "'bcd' is not one of the ids shown"),
        (json.dumps({"first": GOOD, "final": GOOD}), "'first' is not one of the ids shown"),
        (json.dumps({"BCD": 1, "scores": GOOD}), "'scores' is not one of the ids shown"),
        (json.dumps([{"id": "BCD", "score": 1}]), "FGH, JKM missing"),
        (json.dumps([{"id": "bcd", "score": 1}]), "'bcd' is not one of the ids shown"),
        (json.dumps([{"id": 1, "score": 1}]), "'id' is not one of the ids shown"),
        (json.dumps([{"score": 1}]), "'score' is not one of the ids shown"),
        (json.dumps([{"id": "BCD", "score": 1}] * 2), "BCD stands twice"),
        (f'{json.dumps(GOOD)[:-1]}, "BCD": {{"score": 0.1}}}}', "BCD stands twice"),
        (f'{json.dumps(GOOD)[:-1]}, "BCD": {{"score": 0.9}}}}', "BCD stands twice"),
        (json.dumps({**GOOD, "FGH": "good"}), "the score of FGH is 'good', not a number"),
        (json.dumps({**GOOD, "FGH": True}), 'FGH has no "score"'),
        (json.dumps({**GOOD, "FGH": {"score": 0.5, "Score": 0.5}}), "FGH has two scores"),
        (json.dumps({**GOOD, "FGH": None}), 'FGH has no "score"'),
        (json.dumps({**GOOD, "FGH": [0.5]}), 'FGH has no "score"'),
        (json.dumps({**GOOD, "FGH": [["score", 0.5]]}), 'FGH has no "score"'),
        (json.dumps({**GOOD, "FGH": {"rating": 0.5}}), 'FGH has no "score"'),
    ],
)
def test_a_reply_without_a_verdict_is_a_fault_that_says_why(reply: str, said: str) -> None:
    assert fault(reply) == said


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("7", "7, outside 0 to 1"),
        ("10", "10, outside 0 to 1"),
        ("15", "15, outside 0 to 1"),
        ("1.0000001", "1.0000001, outside 0 to 1"),
        ("-0.1", "-0.1, outside 0 to 1"),
        ("-1", "-1, outside 0 to 1"),
        ("NaN", "nan, outside 0 to 1"),
        ("Infinity", "inf, outside 0 to 1"),
        ("-Infinity", "-inf, outside 0 to 1"),
        ("1e999", "inf, outside 0 to 1"),
        ("1" + "0" * 4000, f"1{'0' * 39}, outside 0 to 1"),
        ('"7"', "'7', outside 0 to 1"),
        ('"1e999"', "'1e999', outside 0 to 1"),
        ('"nan"', "'nan', not a number"),
        ('""', "'', not a number"),
        ('"90%"', "'90%', not a number such as 0.9"),
        ('"9/10"', "'9/10', not a number such as 0.9"),
        ('"9 out of 10"', "'9 out of 10', not a number such as 0.9"),
        ('"0,9"', "'0,9', not a number such as 0.9"),
        ('"high"', "'high', not a number"),
        ("true", "True, not a number"),
        ("false", "False, not a number"),
        ("null", "None, not a number"),
        ("[0.5]", "a list, not a number"),
        ('{"value": 0.5}', "an object, not a number"),
    ],
)
def test_a_score_that_is_no_number_in_0_to_1_is_a_fault(raw: str, said: str) -> None:
    assert fault(with_score(raw)) == f"the score of FGH is {said}"


@pytest.mark.parametrize(
    ("raw", "score"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("1.0", 1.0),
        ("5e-1", 0.5),
        ('"0.9"', 0.9),
        ('" 0.9 "', 0.9),
        ('"1"', 1.0),
        ('".5"', 0.5),
        ('"5e-1"', 0.5),
    ],
)
def test_a_score_is_a_number_in_a_string_or_not(raw: str, score: float) -> None:
    assert read(with_score(raw)).scores[1] == score


ENTRIES = [{"id": shown_id, **entry} for shown_id, entry in GOOD.items()]


@pytest.mark.parametrize(
    "value",
    [
        {"BCD": 0.9, "FGH": 0.5, "JKM": 0},
        {"BCD": "0.9", "FGH": "0.5", "JKM": "0"},
        {**GOOD, "FGH": {"Explanation": "middling", "Score": 0.5}},
        {**GOOD, "FGH": {"score ": "0.5", "confidence": 0.1}},
        ENTRIES,
        list(reversed(ENTRIES)),
        [{"ID": entry["id"], "Score": entry["score"]} for entry in ENTRIES],
        {"scores": GOOD},
        {"notes": "all read", "scores": {"BCD": 0.9, "FGH": 0.5, "JKM": 0}},
        {"results": ENTRIES},
    ],
)
def test_a_verdict_written_another_way_is_read(value: Any) -> None:
    assert read(json.dumps(value)).scores == [0.9, 0.5, 0.0]
    assert read(f"[1] of {{all}}:\n```json\n{json.dumps(value)}\n```").scores == [0.9, 0.5, 0.0]


def test_two_scores_for_one_trajectory_are_a_fault() -> None:
    assert "FGH" in fault(with_score('0.5, "score": 0.9'))


def test_a_fault_stays_short_whatever_the_judge_wrote() -> None:
    assert len(fault(with_score(json.dumps("x" * 10_000)))) < 100
    assert len(fault(json.dumps({"x" * 10_000: 1}))) < 100


def test_explanations_are_optional_and_limited_in_length() -> None:
    reply = {
        "BCD": {"score": 0.9},
        "FGH": {"score": 0.5, "explanation": ["not", "text"]},
        "JKM": {"score": 0, "explanation": "w" * 10_000, "confidence": 0.2},
    }
    assert read(json.dumps(reply)).explanations == ["", "", "w" * MAX_EXPLANATION_CHARS]


def test_half_a_character_in_an_explanation_is_replaced() -> None:
    broken = json.dumps(GOOD).replace('"best"', r'"good \ud83d"')  # an emoji cut in two
    verdict = read(broken)
    assert verdict.scores == [0.9, 0.5, 0.0]
    verdict.explanations[0].encode()  # as the store and the wire do


@pytest.mark.parametrize("reply", [json.dumps(GOOD), json.dumps(GOOD, indent=2)])
def test_a_reply_cut_anywhere_is_a_fault_not_fewer_scores(reply: str) -> None:
    for end in range(len(reply) - 1):
        fault(reply[:end])


def test_thoughts_may_hold_many_brackets() -> None:
    assert read(f"{'[x {y' * 500}</think>{json.dumps(GOOD)}").scores == [0.9, 0.5, 0.0]


@pytest.mark.parametrize("opening", ['{"a":', "[", '{"BCD":[', '[{"score":'])
@pytest.mark.parametrize("depth", [100, 600, 900, 5000])
def test_deep_nesting_is_a_fault_not_a_crash(opening: str, depth: int) -> None:
    closing = "".join({"{": "}", "[": "]"}.get(letter, "") for letter in reversed(opening))
    nested = opening * depth + "1" + closing * depth
    assert fault(nested)
    assert fault(with_score(nested))
    assert fault(with_score(opening * depth))


@pytest.mark.parametrize("raw", ["9" * 5000, "-" + "9" * 5000, "0." + "9" * 100_000])
def test_a_very_long_number_is_read_or_is_a_fault(raw: str) -> None:
    with suppress(Fault):
        assert read(with_score(raw)).scores[1] == 1.0  # .999... rounds to 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*IDS, "score", "explanation"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FRAGMENTS = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "```json\n", "<think>", "</think>", "NaN", "1e999", "\\u",
     '"BCD":', '"FGH":', '"JKM":', '{"score": 0.5}', '{"score": 1}', json.dumps(GOOD)]
)  # fmt: skip
HOSTILE = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join)


@given(
    st.dictionaries(st.sampled_from([*IDS, "ZZZ"]), VALUES).map(json.dumps) | HOSTILE | st.text()
)
@example('{"BCD": {"score": 1}, "FGH": {"score": 1}, "JKM": {"score": 1}}')
@settings(max_examples=100)
def test_a_hostile_reply_is_a_whole_verdict_or_a_fault(reply: str) -> None:
    try:
        verdict = read(reply)
    except Fault:
        return
    assert verdict.ids == IDS
    assert verdict.order == ORDER
    assert len(verdict.scores) == len(verdict.explanations) == 3
    assert all(0 <= score <= 1 for score in verdict.scores)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_rendered_prompt_and_its_parsed_reply_have_equal_ids(
    scores: list[float], random: Any
) -> None:
    num = len(scores)
    bodies = [f"body {index}" for index in range(num)]
    transcript = Transcript("", bodies, bodies, [[index] for index in range(num)])
    order = random.sample(range(num), num)
    prompt = build_prompt("scores", "long", "Be fair.", transcript, order)
    entries = [
        (shown_id, {"explanation": f"shows {index}", "score": scores[index]})
        for shown_id, index in zip(prompt.ids, prompt.order, strict=True)
    ]
    random.shuffle(entries)
    verdict = parse_verdict(json.dumps(dict(entries)), prompt.ids, prompt.order)
    assert verdict.ids == prompt.ids
    assert verdict.by_body() == scores
    assert verdict.explanations == [f"shows {index}" for index in order]


def test_a_verdict_and_many_empty_lines_take_linear_time() -> None:
    assert cpu_s(lambda: read(json.dumps(GOOD) + "\n" * 20_000)) < 2
