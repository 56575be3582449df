"""Deterministic criteria: what holds, what does not, and what cannot be computed."""

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from podium_service.errors import CriterionFailed, ReferenceRequired
from podium_service.judges.checks.base import Criterion, final_answer
from podium_service.judges.checks.criteria import (
    AnyCriterion,
    find_failed,
    score_criteria,
)
from podium_service.judges.checks.gates import is_opener
from podium_service.schemas import Trajectory

CHECK: TypeAdapter[Any] = TypeAdapter(AnyCriterion)


def check(kind: str, /, **fields: Any) -> Criterion:
    """A check as the judges file gives it."""
    built = CHECK.validate_python({"check": kind, **fields})
    assert isinstance(built, Criterion)
    return built


def trajectory(*messages: dict[str, Any]) -> Trajectory:
    return Trajectory.model_validate({"id": "t", "messages": messages})


def answers(text: str) -> Trajectory:
    return trajectory({"role": "user", "content": "q"}, {"role": "assistant", "content": text})


def used(tool: str, result: str) -> Trajectory:
    """One tool call, its result, and an answer."""
    call = {"id": "c", "type": "function", "function": {"name": tool, "arguments": "{}"}}
    return trajectory(
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": result},
        {"role": "assistant", "content": "done"},
    )


def matches(answer: str, reference: str, how: str = "exact") -> bool:
    return check("matches_reference", how=how).holds(answers(answer), reference)


def test_the_final_answer_is_the_last_assistant_message() -> None:
    user, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "first"}
    parts = {"role": "assistant", "content": [{"type": "text", "text": t} for t in ("la", "st")]}
    assert final_answer(trajectory(user, said, parts)) == "last"
    assert final_answer(trajectory(user, said, user)) == "first"
    assert final_answer(trajectory(user)) == ""
    assert final_answer(used("f", "r")) == "done"


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("Paris", "Paris", True),
        ("  paris\n", "Paris", True),
        ("New  York", "new\tyork", True),
        ("STRASSE", "straße", True),  # casefold
        ("５", "5", True),  # full-width, NFKC
        ("Paris.", "Paris", False),
        ("It is Paris", "Paris", False),
        ("", "Paris", False),
        ("", "", True),
    ],
)
def test_an_exact_match_leaves_out_case_and_spaces(answer: str, reference: str, same: bool) -> None:
    assert matches(answer, reference) is same


@pytest.mark.parametrize(
    ("answer", "reference", "found"),
    [
        ("I think it is\nPARIS, France.", "paris", True),
        ("new  york city", "New York", True),
        ("Par is", "Paris", False),
        ("", "Paris", False),
    ],
)
def test_contains_finds_the_reference_in_the_answer(
    answer: str, reference: str, found: bool
) -> None:
    assert matches(answer, reference, "contains") is found


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("So the answer is 5.", "5", True),
        ("2 + 3 = 5", "#### 5", True),
        ("1,234", "1234", True),
        ("$1,234,567.50", "1234567.5", True),
        ("5.0", "5", True),
        ("-5", "-5", True),
        ("-5", "5", False),
        ("0", "-0", True),
        ("5, no: 6", "5", False),
        ("6, no: 5", "5", True),
        ("5.01", "5", False),
        ("50%", "50", True),
        ("five", "5", False),
        ("", "5", False),
    ],
)
def test_a_number_equals_the_last_number_of_the_reference(
    answer: str, reference: str, same: bool
) -> None:
    assert matches(answer, reference, "number") is same


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        (".5", "0.5", True),
        (".5", "5", False),
        ("1e5", "100000", True),
        ("1e5", "5", False),
        ("−5", "-5", True),  # U+2212, as models typeset it
        ("−5", "5", False),
        ("1,2,3", "3", True),  # a list, not thousands
        ("9007199254740993", "9007199254740992", False),  # equal as floats
        ("9" * 400, "8" * 400, False),  # both infinite as floats
    ],
    ids=range(9),
)
def test_a_number_is_read_whole_and_exactly(answer: str, reference: str, same: bool) -> None:
    assert matches(answer, reference, "number") is same


def test_a_match_without_a_reference_is_an_error_not_a_miss() -> None:
    criterion = check("matches_reference")
    assert criterion.needs_reference
    with pytest.raises(ReferenceRequired, match="reference is null"):
        criterion.holds(answers("5"), None)


def test_contains_looks_for_a_text_and_minds_the_case_only_if_told() -> None:
    assert check("contains", text="$240").holds(answers("refund of $240 is due"), None)
    assert check("contains", text="PARIS").holds(answers("in paris"), None)
    assert not check("contains", text="PARIS", case_sensitive=True).holds(answers("in paris"), None)
    assert not check("contains", text="rome").holds(answers("in paris"), None)


def test_a_regex_may_match_anywhere_in_the_answer() -> None:
    assert check("regex", pattern=r"\d{4}").holds(answers("in 1969, on the moon"), None)
    assert not check("regex", pattern=r"^\d{4}").holds(answers("in 1969"), None)
    assert check("regex", pattern=r"(?m)^1969").holds(answers("in\n1969"), None)


def test_a_regex_that_runs_away_is_a_failed_check_not_a_miss() -> None:
    with pytest.raises(
        CriterionFailed, match=r"'\(a\|aa\)\+\$' ran over 0\.2 s .* nested repetition"
    ):
        check("regex", pattern="(a|aa)+$").holds(answers("a" * 100 + "b"), None)


def test_a_regex_that_could_run_away_is_no_matter_where_it_matches() -> None:
    assert check("regex", pattern="(a+)+$").holds(answers("a" * 100), None)
    assert not check("regex", pattern="(a+)+$").holds(answers("a" * 100 + "b"), None)


PERSON = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("answer", "meets"),
    [
        ('{"age": 3}', True),
        ('  {"age": 3}\n', True),
        ('```json\n{"age": 3}\n```', True),
        ('```\n{"age": 3}\n```', True),
        ('{"age": "3"}', False),
        ("{}", False),
        ("[]", False),
        ('Here: {"age": 3}', False),
        ('```json\n{"age": 3}\n``` as asked', False),
        ('{"age": 3', False),
        ("", False),
        ("[" * 100_000, False),
        ('{"age": ' + "9" * 5000 + "}", False),
    ],
)
def test_an_answer_meets_a_json_schema_with_or_without_a_fence(answer: str, meets: bool) -> None:
    criterion = check("json_schema", schema=PERSON)
    assert criterion.holds(answers(answer), None) is meets


@pytest.mark.parametrize("answer", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_reads_as_json_is_not_json(answer: str) -> None:
    assert not check("json_schema", schema={"type": "number"}).holds(answers(answer), None)


@pytest.mark.parametrize("answer", ["1e999", "1" + "0" * 400, "-1e999"])
def test_a_number_too_large_to_divide_is_no_crash(answer: str) -> None:
    criterion = check("json_schema", schema={"type": "number", "multipleOf": 0.5})
    with suppress(CriterionFailed):
        assert criterion.holds(answers(answer), None) in (True, False)


def test_a_pattern_in_a_schema_that_runs_away_is_a_failed_check_too() -> None:
    criterion = check("json_schema", schema={"type": "string", "pattern": "^(a|aa)+$"})
    with pytest.raises(CriterionFailed):
        criterion.holds(answers(f'"{"a" * 31}b"'), None)  # under a second if nothing stops it


@pytest.mark.parametrize("schema", [{"$ref": "#/definitions/nope"}, {"$ref": "#nope"}])
def test_a_schema_that_refers_to_nothing_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, CriterionFailed), match="nope"):
        check("json_schema", schema=schema).holds(answers("{}"), None)


def test_max_words_and_max_turns_count_up_to_their_limit() -> None:
    assert check("max_words", words=3).holds(answers(" one two\nthree "), None)
    assert not check("max_words", words=2).holds(answers("one two three"), None)
    assert check("max_words", words=0).holds(answers(""), None)
    assert check("max_turns", turns=2).holds(used("f", "r"), None)
    assert not check("max_turns", turns=1).holds(used("f", "r"), None)


def test_calls_tool_wants_this_very_tool() -> None:
    assert check("calls_tool", name="book").holds(used("book", "ok"), None)
    assert not check("calls_tool", name="book").holds(used("book_all", "ok"), None)
    assert not check("calls_tool", name="book").holds(answers("I book"), None)


@pytest.mark.parametrize(
    ("result", "fine"),
    [
        ("ok", True),
        ("", True),
        ("no error was found", True),
        ("errors: none", True),
        ("Error: no such flight", False),
        ("  ERROR 500", False),
        ("Traceback (most recent call last):\n  File", False),
        ('{"error": "no such flight"}', False),
        ('\n{"error": {"code": 7}}', False),
        ('{"error": null, "ok": 1}', True),
        ('{"error": ""}', True),
        ('{"result": {"error": "inner"}}', True),
        ('{"error": "cut', True),
        ("{" * 100_000, True),
    ],
)
def test_a_tool_error_is_seen_where_a_result_reports_one(result: str, fine: bool) -> None:
    assert check("no_tool_errors").holds(used("f", result), None) is fine


def test_only_tool_results_report_tool_errors() -> None:
    assert check("no_tool_errors").holds(answers("Error: I give up"), None)


def test_failed_checks_keep_their_order() -> None:
    criteria = [
        check("max_words", words=1), check("contains", text="five"), check("regex", pattern="x"),
    ]  # fmt: skip
    failed = find_failed(criteria, answers("it is five"), None)
    assert failed == [criteria[0], criteria[2]]


def test_the_score_is_the_weighted_share_of_what_is_met() -> None:
    one, two, five = (check("max_turns", turns=1, weight=weight) for weight in (1, 2, 5))
    criteria = [one, two, five]
    assert score_criteria(criteria, []) == 1
    assert score_criteria(criteria, [two]) == 0.75  # 1 - 2/8
    assert score_criteria(criteria, [one, five]) == 0.25
    assert score_criteria(criteria, criteria) == 0


def test_all_failed_is_exactly_0_whatever_the_weights() -> None:
    criteria = [check("max_turns", turns=1, weight=0.1) for _ in range(3)]
    assert score_criteria(criteria, criteria) == 0


def test_gates_do_not_enter_the_score() -> None:
    gate, plain = check("max_words", words=1, gate=True, weight=9), check("contains", text="x")
    assert score_criteria([gate, plain], [gate]) == 1
    assert score_criteria([gate, plain], [plain]) == 0
    assert score_criteria([gate], []) == 1


def test_a_label_names_the_check_and_its_settings() -> None:
    assert check("max_words", words=120, gate=True, weight=2).label == "max_words(120)"
    assert check("matches_reference").label == "matches_reference"
    assert check("matches_reference", how="number").label == "matches_reference(number)"
    assert check("contains", text="$240").label == "contains($240)"


@pytest.mark.parametrize(
    ("name", "fields", "rule"),
    [
        ("nope", {}, "does not match any of the expected tags"),
        ("contains", {}, "Field required"),
        ("contains", {"text": ""}, "at least 1 character"),
        ("contains", {"text": "a", "bogus": 1}, "Extra inputs are not permitted"),
        ("contains", {"text": "a", "weight": 0}, "greater than 0"),
        ("contains", {"text": "a", "weight": -1}, "greater than 0"),
        ("contains", {"text": "a", "weight": float("inf")}, "finite number"),
        ("regex", {"pattern": "("}, r"'\(' is not a regular expression: missing \)"),
        ("json_schema", {"schema": {"type": "objekt"}}, "not a JSON schema: 'objekt'"),
        ("json_schema", {"schema": {"pattern": "("}}, "not a JSON schema"),
        ("max_turns", {"turns": 0}, "greater than or equal to 1"),
        ("matches_reference", {"how": "fuzzy"}, "'exact', 'contains' or 'number'"),
    ],
)
def test_settings_that_break_a_rule_are_refused(
    name: str, fields: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValidationError, match=rule):
        check(name, **fields)


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
def test_text_that_no_one_sees_is_empty(text: str) -> None:
    assert not check("not_empty").holds(answers(text), None)
    assert check("not_empty").holds(answers(text + "4"), None)
    assert check("not_opener_only").holds(answers(text), None)  # it is not_empty's to say


@pytest.mark.parametrize("text", [".", "0", "é", "😊", "न", "\u0627", "答", "$"])
def test_text_that_is_seen_is_not_empty(text: str) -> None:
    assert check("not_empty").holds(answers(text), None)


def test_a_tool_call_is_neither_empty_nor_an_opener() -> None:
    silent = used("f", "r")
    silent.messages.pop()
    assert check("not_empty").holds(silent, None)
    silent.messages[1].content = "Let me think step by step."
    assert check("not_opener_only").holds(silent, None)


def test_only_the_agents_words_count() -> None:
    asked_only = trajectory({"role": "user", "content": "q"})
    assert not check("not_empty").holds(asked_only, None)
    opened = answers("Let me think.")
    opened.messages[0].content = "What is 2 + 2?"
    assert not check("not_opener_only").holds(opened, None)


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
def test_an_opener_solves_nothing(text: str) -> None:
    assert not check("not_opener_only").holds(answers(text), None)


@pytest.mark.parametrize("text", NO_OPENERS)
def test_what_may_be_an_answer_is_no_opener(text: str) -> None:
    assert check("not_opener_only").holds(answers(text), None)


@given(st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True))
def test_one_word_or_number_is_an_answer_also_after_an_opener(word: str) -> None:
    assume(word.lower() not in ("solution", "respuesta"))
    assert not is_opener(word)
    assert not any(is_opener(f"{opener} {word}") for opener in OPENERS[:5])


@given(st.text(min_size=1), st.sampled_from(OPENERS))
def test_a_digit_anywhere_is_no_opener(text: str, opener: str) -> None:
    assume("Step 1" not in opener)
    assert not is_opener(f"{opener}\n{text}7{text}")


def test_openers_over_all_turns_are_openers_and_one_answer_among_them_is_enough() -> None:
    talk = [{"role": "user", "content": "q"}]
    for opener in OPENERS[:3]:
        talk += [{"role": "assistant", "content": opener}, {"role": "user", "content": "and?"}]
    assert not check("not_opener_only").holds(trajectory(*talk), None)
    talk.insert(3, {"role": "assistant", "content": "4"})
    assert check("not_opener_only").holds(trajectory(*talk), None)


def test_an_opener_that_is_the_reference_is_an_answer() -> None:
    assert check("not_opener_only").holds(answers("Solution"), "solution")
    assert not check("not_opener_only").holds(answers("Solution"), "suspension")


@pytest.mark.parametrize(
    "unit",
    ["sure ", "sure,", "let me think. ", "a", ".", "to solve this ", "\n ", "hm", "*_", "x."],
)
def test_openers_are_looked_for_in_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    is_opener(text)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("reason", "whole"), [("length", False), ("stop", True), (None, True)])
def test_a_trajectory_cut_off_at_the_limit_is_truncated(reason: str | None, whole: bool) -> None:
    cut = answers("and then")
    cut.finish_reason = reason
    assert check("not_truncated").holds(cut, None) is whole
