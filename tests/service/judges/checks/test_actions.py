"""Criteria that look at the agent's turns and tools."""

import pytest

from tests.service.judges.checks.builders import answers, criterion, used_tool


def test_max_turns_counts_up_to_its_limit() -> None:
    assert criterion("max_turns", turns=2).holds(used_tool("f", "r"), None)
    assert not criterion("max_turns", turns=1).holds(used_tool("f", "r"), None)


def test_calls_tool_compares_whole_names() -> None:
    assert criterion("calls_tool", name="book").holds(used_tool("book", "ok"), None)
    assert not criterion("calls_tool", name="book").holds(used_tool("book_all", "ok"), None)
    assert not criterion("calls_tool", name="book").holds(answers("I book"), None)


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
def test_a_tool_result_that_reports_an_error_is_recognised(result: str, fine: bool) -> None:
    assert criterion("no_tool_errors").holds(used_tool("f", result), None) is fine


def test_only_tool_results_report_tool_errors() -> None:
    assert criterion("no_tool_errors").holds(answers("Error: I give up"), None)
