"""`podium serve` before a judge that works on one call at a time and takes long, with defaults.

Seconds stand for the tens of seconds that a call takes on a laptop.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import ScriptedJudge, by_length, later, scores
from tests.service.helpers import count_verdicts, group
from tests.service.process import running_with

pytestmark = pytest.mark.anyio

STEP = scores(by_length)
ANSWERS = ("5", "five", "it is five", "it is 5, I think")


def settings(judge: ScriptedJudge) -> dict[str, Any]:
    return {"model": "m", "base_urls": [judge.url], "passes": 4}


async def test_groups_are_ranked_by_a_judge_of_one_slot(
    tmp_path: Path,
) -> None:
    async with (
        ScriptedJudge(always=later(STEP, 0.7), slots=1).serving() as judge,
        running_with(tmp_path, main=settings(judge)) as (http, process),
    ):
        groups = [group(*ANSWERS, str(number)) for number in range(3)]
        answers = [await http.post("/rank", json=groups[0])]
        answers += await asyncio.gather(*(http.post("/rank", json=each) for each in groups[1:]))
        again = await http.post("/rank", json=groups[0])
        assert [answer.status_code for answer in answers] == [200] * 3, process.err
        assert [answer.json()["usage"]["calls"] for answer in answers] == [4] * 3
        assert again.json()["cached"] is True
        # None was lost, repeated or given up.
        assert judge.calls == count_verdicts(tmp_path / "podium.db") == 12
        assert not process.logged("judge_attempt_failed")
        assert not process.logged("judge_call_cancelled")
    assert max(judge.seen_in_flight[:4]) == 4  # the first round
    assert max(judge.seen_in_flight[4:]) <= 2


async def test_a_deadline_that_is_too_short_loses_no_verdict(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=later(STEP, 1.0), slots=1).serving() as judge,
        running_with(tmp_path, main=settings(judge)) as (http, process),
    ):
        late = await http.post("/rank", json=group(*ANSWERS, deadline_s=2.7))
        stored = count_verdicts(tmp_path / "podium.db")
        cancelled = process.logged("judge_call_cancelled")
        answer = await http.post("/rank", json=group(*ANSWERS))
    assert late.status_code == 504
    detail = late.json()["detail"]
    assert detail.startswith(f"2.7 s were not enough for judge main ({judge.url}: ")
    assert " in flight, limit " in detail
    assert "about 1" in detail
    assert "raise deadline_s, or ask again (verdicts that arrived are kept" in detail
    assert 1 <= stored <= 2
    assert len(cancelled) == 4 - stored
    assert all(line["after_s"] > 1 and line["in_flight"] >= 1 for line in cancelled)
    assert answer.status_code == 200, process.err
    assert answer.json()["usage"]["calls"] == 4 - stored
