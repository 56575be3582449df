"""Rounds: a void verdict is asked for again; the canary leaves no trace in the result."""

from pathlib import Path

import pytest

from podium_service.errors import JudgeRejected, VerdictVoid
from podium_service.prompts.defences.canary import make_canary
from tests.fakes import ScriptedJudge, fails, hangs, later, misplaces, says, scores
from tests.service.helpers import llm, service
from tests.service.ranking.worth import numbered, worth

pytestmark = pytest.mark.anyio


def planted(text: str) -> bool:
    return "worth" not in text


def fine(text: str) -> float:
    return 0.0 if planted(text) else worth(text)


async def test_a_canary_is_shown_and_does_not_change_the_result(tmp_path: Path) -> None:
    async with ScriptedJudge(always=scores(fine)).serving() as judge:
        async with service(tmp_path, main=llm(judge.url, canary=True)) as opened:
            ranking = await opened.ranker.rank(numbered(1, spread=0.8))
        slots = [
            [planted(text) for text in asked.shown.values()].index(True) for asked in judge.asked
        ]
        async with service(tmp_path / "..", main=llm(judge.url, canary=False)) as opened:
            without = await opened.ranker.rank(numbered(1, spread=0.8))
    assert [len(asked.shown) for asked in judge.asked[:4]] == [6] * 4
    assert len(slots) == 4
    shown = {shown for asked in judge.asked for shown, text in asked.shown.items() if planted(text)}
    assert not any(each in result.explanation for each in shown for result in ranking.results)
    assert [r.score for r in ranking.results] == [r.score for r in without.results]
    assert [r.reward for r in ranking.results] == [r.reward for r in without.results]
    assert ranking.id != without.id


async def test_a_verdict_that_misplaces_the_canary_is_asked_for_again(
    tmp_path: Path,
) -> None:
    script = [misplaces(planted, fine), *[scores(fine)] * 4]
    async with (
        ScriptedJudge(script).serving() as judge,
        service(tmp_path, main=llm(judge.url, canary=True)) as opened,
    ):
        ranking = await opened.ranker.rank(numbered(1, spread=0.8))
    assert judge.calls == ranking.usage.calls == 5
    assert all(len(asked.body["messages"]) == 2 for asked in judge.asked)  # not a correction
    assert [result.rank for result in ranking.results] == [5, 4, 3, 2, 1]
    assert ranking.passes == 4


async def test_a_judge_that_misplaces_the_canary_twice_fails(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=misplaces(planted, fine)).serving() as blind,
        ScriptedJudge(always=scores(worth)).serving() as other,
        service(
            tmp_path,
            main=llm(blind.url, canary=True, fallback=["other"]),
            alone=llm(blind.url, canary=True),
            other=llm(other.url, model="other"),
        ) as opened,
    ):
        ranking = await opened.ranker.rank(numbered(1, spread=0.8))
        asked = numbered(2, spread=0.8)
        asked.judge = "alone"
        with pytest.raises(VerdictVoid, match="the planted bad trajectory beats"):
            await opened.ranker.rank(asked)
    assert (ranking.judge, ranking.fallback_from) == ("other", "main")


def test_canaries_look_like_any_other_body() -> None:
    assert len({make_canary(actions_first=False, datamarked=False) for _ in range(200)}) > 3
    assert make_canary(actions_first=False, datamarked=False).startswith(
        '<message role="assistant">\n'
    )


async def test_answers_under_way_are_kept_when_another_call_fails(tmp_path: Path) -> None:
    asked = numbered(1, spread=0.8)
    answers = later(scores(worth), 0.7)
    script = [fails(401), answers, answers, answers]
    async with (
        ScriptedJudge(script, always=scores(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=4)) as opened,
    ):
        with pytest.raises(JudgeRejected):
            await opened.ranker.rank(asked)
        calls = judge.calls
        ranking = await opened.ranker.rank(asked)
    assert (calls, judge.calls, ranking.usage.calls) == (4, 5, 1)
    assert [result.rank for result in ranking.results] == [5, 4, 3, 2, 1]


async def test_calls_that_wait_are_not_sent_after_another_one_failed(tmp_path: Path) -> None:
    one_by_one = {"concurrency": 1, "passes": 4}
    async with (
        ScriptedJudge([later(fails(401), 0.2), fails(401)]).serving() as judge,
        service(tmp_path, main=llm(judge.url, **one_by_one)) as opened,
    ):
        with pytest.raises(JudgeRejected):
            await opened.ranker.rank(numbered(1, spread=0.8))
    assert judge.calls == 2  # the second gets the place that the first one leaves


async def test_nothing_is_asked_again_after_another_call_failed(tmp_path: Path) -> None:
    faulty = [later(says("no verdict"), 0.5), later(fails(500), 0.5), later(fails(429), 0.5)]
    async with (
        ScriptedJudge([fails(401), *faulty]).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=4, attempts=9)) as opened,
    ):
        with pytest.raises(JudgeRejected):
            await opened.ranker.rank(numbered(1, spread=0.8))
    assert judge.calls == 4


async def test_a_hung_call_does_not_hide_why_another_one_failed(tmp_path: Path) -> None:
    asked = numbered(1, spread=0.8)
    asked.deadline_s = 2.0
    async with (
        ScriptedJudge([fails(401), hangs]).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=2)) as opened,
    ):
        with pytest.raises(JudgeRejected):  # before the deadline
            await opened.ranker.rank(asked)
