"""The page of a group, from models alone."""

from typing import Any

import pytest

from podium_service.pages.attempts import read_attempts
from podium_service.pages.frame import Frame
from podium_service.pages.group import choose, curl_command, render_group
from podium_service.pages.matrix import build_matrix, find_slot_effects
from podium_service.pages.texts.conversation import count_shared, pretty_json, read_turns
from podium_service.schemas import Problem
from tests.service.helpers import chat
from tests.service.pages.samples import AT, calls_of, detail_of, example_group

FRAME = Frame(base_url="http://localhost:8000", active="Groups")


def small_group(*answers: str) -> dict[str, Any]:
    trajectories = [{"id": f"t{i}", "messages": chat(text)} for i, text in enumerate(answers)]
    return {"trajectories": trajectories}


def test_a_group_without_sentences_says_how_to_ask_for_some() -> None:
    detail = detail_of(small_group("a", "b"))
    assert detail.ranking
    assert "podium explain" not in render_group(FRAME, detail, calls_of(detail))
    silent = [each.model_copy(update={"explanation": ""}) for each in detail.ranking.results]
    ranking = detail.ranking.model_copy(update={"results": silent})
    told = render_group(FRAME, detail.model_copy(update={"ranking": ranking}), [])
    assert "<code>podium explain rk_1</code>" in told
    by_checks = ranking.model_copy(update={"method": "checks"})
    told = render_group(FRAME, detail.model_copy(update={"ranking": by_checks}), [])
    assert "podium explain" not in told


def test_a_reply_without_a_verdict_stands_before_the_next() -> None:
    detail = detail_of(small_group("a", "b"))
    passes = calls_of(detail)
    void = {"fault": "it names nobody", "scores": {}, "order": []}
    again = [each.model_copy(update={**void, "at": each.at - 0.5}) for each in passes[:1]]
    last = [each.model_copy(update={**void, "at": each.at + 0.5}) for each in passes[-1:]]
    html = render_group(FRAME, detail, [*passes, *last, *again])
    said = [each.partition("</summary>")[0] for each in html.split('id="call-')[1:]]
    names = ["Pass 1", "Pass 1", "Pass 2", "Pass 3", "Pass 4", "Pass 4"]
    assert [name in each for name, each in zip(names, said, strict=True)] == [True] * 6
    assert ["no verdict" in each for each in said] == [True, *[False] * 4, True]
    assert ["asked again" in each for each in said] == [True, *[False] * 5]
    assert ['href="#call-2">Pass 1' in html, 'href="#call-3">Pass 2' in html] == [True, True]


def test_the_prompt_that_all_share_is_shown_once() -> None:
    detail = detail_of(example_group())
    html = render_group(FRAME, detail, calls_of(detail))
    assert html.count("My user id is noah_8124.") == 1 + 6  # as often as in the curl command
    assert html.count('class="attempt"') == 6


@pytest.mark.parametrize(
    ("conversations", "shared"),
    [
        ([chat("a"), chat("b")], 1),
        ([chat("a"), chat("a")], 1),
        ([chat("a")], 1),
        ([[*chat("a"), *chat("b")], [*chat("a"), *chat("c")]], 3),
        ([chat("a"), chat("a", question="Other?")], 0),
        ([[], chat("a")], 0),
        ([], 0),
    ],
)
def test_shared_messages_are_counted(conversations: list[Any], shared: int) -> None:
    assert count_shared(conversations) == shared


def test_a_tool_call_has_its_result_beside_it() -> None:
    calls = [{"id": "c1", "function": {"name": "add", "arguments": '{"a":1}'}},
             {"id": "c2", "function": {"name": "sub", "arguments": "not json"}}]  # fmt: skip
    turns = read_turns([
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c9", "content": "of no call"},
    ])  # fmt: skip
    assert [(use.name, use.arguments, use.result) for use in turns[0].tools] == [
        ("add", '{"a":1}', "one"), ("sub", "not json", "two")]  # fmt: skip
    assert (turns[1].role, turns[1].text) == ("tool", "of no call")


def test_long_arguments_have_a_member_a_line() -> None:
    assert pretty_json('{"a": 1}') == '{"a":1}'
    assert pretty_json({"text": "x" * 80}).count("\n") == 2


def test_a_matrix_shows_slots_scores_and_spread() -> None:
    detail = detail_of(small_group("one", "two"))
    first, second = calls_of(detail)[:2]
    matrix = build_matrix(read_attempts(detail, []), [second, first])
    assert matrix
    row = matrix.rows[0]
    assert [cell.slot for cell in row.cells if cell] == [1, 2]
    assert row.mean == pytest.approx((0.9 + 0.85) / 2)
    assert row.sd == pytest.approx(0.05 / 2**0.5)


def test_a_liking_for_slots_is_the_mean_residual() -> None:
    detail = detail_of(small_group("one", "two"))
    calls = calls_of(detail)[:2]
    # t0 scores .9 in slot 1 and .85 in slot 2; t1 scores .3 in slot 2 and .4 in slot 1.
    effects = {each.slot: each.effect for each in find_slot_effects(calls)}
    assert effects == {
        1: pytest.approx((0.025 + 0.05) / 2),
        2: pytest.approx((-0.025 - 0.05) / 2),
    }
    assert find_slot_effects(calls[:1]) == []


def test_identical_attempts_share_the_cells_of_one() -> None:
    detail = detail_of(small_group("one", "two", "one"))
    [call] = calls_of(detail_of(small_group("one", "two")))[:1]
    attempts = {each.id: each for each in read_attempts(detail, [call])}
    assert attempts["t2"].same_as == "t0"
    matrix = build_matrix(list(attempts.values()), [call])
    assert matrix
    assert matrix.rows[2].cells == matrix.rows[0].cells


def test_a_large_group_shows_the_two_that_are_picked() -> None:
    attempts = read_attempts(detail_of(small_group(*"abcdefgh")), [])
    assert [each.id for each in choose(attempts, [])] == ["t0", "t7"]
    assert [each.id for each in choose(attempts, ["t3", "t1", "none"])] == ["t1", "t3"]
    assert len(choose(attempts[:6], ["t1"])) == 6


def test_a_failed_group_says_why() -> None:
    detail = detail_of(small_group("a", "b"), outcome="failed", code="judge_refused")
    problem = Problem(
        type="urn:podium:judge_refused", title="The judge refused", status=502,
        detail="judge main: <b>refused</b>", code="judge_refused", retryable=False, request_id="r1",
    )  # fmt: skip
    failed = detail.model_copy(update={"ranking": None, "problem": problem})
    html = render_group(FRAME, failed, [])
    assert "This group was not ranked" in html
    assert "judge main: &lt;b&gt;refused&lt;/b&gt;" in html


def test_a_group_without_texts_still_has_its_numbers() -> None:
    detail = detail_of(small_group("a", "b")).model_copy(update={"request": None})
    html = render_group(FRAME, detail, [])
    assert "The texts of this group were not kept." in html
    assert ".750" in html


def test_the_curl_command_hides_no_character() -> None:
    command = curl_command(detail_of(small_group("a\u202eb'", "b")), "http://localhost:8000")
    assert command
    assert "\\u202e" in command
    assert command.isascii()


def test_the_moment_of_the_sample_is_its_date() -> None:
    assert AT == 1_795_996_800.0
    assert "2026-11-30 00:00" in render_group(FRAME, detail_of(small_group("a", "b")), [])
