"""Lists of criteria: which ones a trajectory fails, its score, and settings that are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from podium_service.judges.checks.criteria import find_failed, score_criteria
from tests.service.judges.checks.builders import answers, criterion


def test_failed_criteria_keep_their_order() -> None:
    criteria = [
        criterion("max_words", words=1),
        criterion("contains", text="five"),
        criterion("regex", pattern="x"),
    ]
    failed = find_failed(criteria, answers("it is five"), None)
    assert failed == [criteria[0], criteria[2]]


def test_the_score_is_the_weighted_share_of_criteria_met() -> None:
    one, two, five = (criterion("max_turns", turns=1, weight=weight) for weight in (1, 2, 5))
    criteria = [one, two, five]
    assert score_criteria(criteria, []) == 1
    assert score_criteria(criteria, [two]) == 0.75  # 1 - 2/8
    assert score_criteria(criteria, [one, five]) == 0.25
    assert score_criteria(criteria, criteria) == 0


def test_the_score_is_exactly_0_when_all_criteria_fail() -> None:
    criteria = [criterion("max_turns", turns=1, weight=0.1) for _ in range(3)]
    assert score_criteria(criteria, criteria) == 0


def test_gates_do_not_enter_the_score() -> None:
    gate, plain = (
        criterion("max_words", words=1, gate=True, weight=9),
        criterion("contains", text="x"),
    )
    assert score_criteria([gate, plain], [gate]) == 1
    assert score_criteria([gate, plain], [plain]) == 0
    assert score_criteria([gate], []) == 1


def test_a_label_names_the_criterion_and_its_settings() -> None:
    assert criterion("max_words", words=120, gate=True, weight=2).label == "max_words(120)"
    assert criterion("matches_reference").label == "matches_reference"
    assert criterion("matches_reference", how="number").label == "matches_reference(number)"
    assert criterion("contains", text="$240").label == "contains($240)"


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
def test_a_setting_that_breaks_a_rule_is_refused(
    name: str, fields: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValidationError, match=rule):
        criterion(name, **fields)
