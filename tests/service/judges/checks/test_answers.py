"""Criteria that look at the final answer: met, failed, or impossible to compute."""

from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

from podium_service.errors import CriterionFailed, ReferenceRequired
from podium_service.judges.checks.base import find_final_answer
from tests.service.judges.checks.builders import answers, criterion, trajectory, used_tool


def test_the_final_answer_is_the_last_assistant_message() -> None:
    user, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "first"}
    parts = {"role": "assistant", "content": [{"type": "text", "text": t} for t in ("la", "st")]}
    assert find_final_answer(trajectory(user, said, parts)) == "last"
    assert find_final_answer(trajectory(user, said, user)) == "first"
    assert find_final_answer(trajectory(user)) == ""
    assert find_final_answer(used_tool("f", "r")) == "done"


def matches(answer: str, reference: str, how: str = "exact") -> bool:
    return criterion("matches_reference", how=how).holds(answers(answer), reference)


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
def test_an_exact_match_ignores_case_and_spaces(answer: str, reference: str, same: bool) -> None:
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
def test_how_contains_finds_the_reference_in_the_answer(
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
def test_how_number_compares_the_last_numbers(answer: str, reference: str, same: bool) -> None:
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


def test_a_missing_reference_is_an_error_not_a_failed_criterion() -> None:
    built = criterion("matches_reference")
    assert built.needs_reference
    with pytest.raises(ReferenceRequired, match="reference is null"):
        built.holds(answers("5"), None)


def test_contains_ignores_case_unless_case_sensitive_is_set() -> None:
    assert criterion("contains", text="$240").holds(answers("refund of $240 is due"), None)
    assert criterion("contains", text="PARIS").holds(answers("in paris"), None)
    assert not criterion("contains", text="PARIS", case_sensitive=True).holds(
        answers("in paris"), None
    )
    assert not criterion("contains", text="rome").holds(answers("in paris"), None)


def test_a_regex_may_match_anywhere_in_the_answer() -> None:
    assert criterion("regex", pattern=r"\d{4}").holds(answers("in 1969, on the moon"), None)
    assert not criterion("regex", pattern=r"^\d{4}").holds(answers("in 1969"), None)
    assert criterion("regex", pattern=r"(?m)^1969").holds(answers("in\n1969"), None)


def test_a_regex_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(
        CriterionFailed, match=r"'\(a\|aa\)\+\$' ran over 0\.2 s .* nested repetition"
    ):
        criterion("regex", pattern="(a|aa)+$").holds(answers("a" * 100 + "b"), None)


def test_a_regex_with_nested_repetition_may_match_quickly() -> None:
    assert criterion("regex", pattern="(a+)+$").holds(answers("a" * 100), None)
    assert not criterion("regex", pattern="(a+)+$").holds(answers("a" * 100 + "b"), None)


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
def test_a_json_answer_may_stand_in_one_code_fence(answer: str, meets: bool) -> None:
    built = criterion("json_schema", schema=PERSON)
    assert built.holds(answers(answer), None) is meets


@pytest.mark.parametrize("answer", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_not_json(answer: str) -> None:
    assert not criterion("json_schema", schema={"type": "number"}).holds(answers(answer), None)


@pytest.mark.parametrize("answer", ["1e999", "1" + "0" * 400, "-1e999"])
def test_a_number_too_large_to_divide_does_not_crash(answer: str) -> None:
    built = criterion("json_schema", schema={"type": "number", "multipleOf": 0.5})
    with suppress(CriterionFailed):
        assert built.holds(answers(answer), None) in (True, False)


def test_a_schema_pattern_that_takes_too_long_is_an_error() -> None:
    built = criterion("json_schema", schema={"type": "string", "pattern": "^(a|aa)+$"})
    with pytest.raises(CriterionFailed):
        built.holds(answers(f'"{"a" * 31}b"'), None)  # under a second if nothing stops it


@pytest.mark.parametrize("schema", [{"$ref": "#/definitions/nope"}, {"$ref": "#nope"}])
def test_a_schema_with_a_dangling_reference_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, CriterionFailed), match="nope"):
        criterion("json_schema", schema=schema).holds(answers("{}"), None)


def test_max_words_counts_up_to_its_limit() -> None:
    assert criterion("max_words", words=3).holds(answers(" one two\nthree "), None)
    assert not criterion("max_words", words=2).holds(answers("one two three"), None)
    assert criterion("max_words", words=0).holds(answers(""), None)
