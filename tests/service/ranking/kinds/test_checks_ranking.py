"""A checks judge: criteria instead of an LLM."""

from pathlib import Path

import pytest

from podium_service.errors import (
    ReferenceRequired,
)
from tests.fakes import (
    ScriptedJudge,
    by_length,
    scores,
)
from tests.service.helpers import llm, request, service

pytestmark = pytest.mark.anyio


async def test_the_default_judge_asks_for_a_reference(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        with pytest.raises(ReferenceRequired, match="name an LLM judge"):
            await opened.ranker.rank(request("5", "five"))


async def test_the_default_judge_compares_with_the_reference(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        ranking = await opened.ranker.rank(request("5", "6", "7", " 5 ", reference="5"))
    assert (ranking.method, ranking.passes, ranking.model) == ("checks", 1, None)
    assert [result.reward for result in ranking.results] == [5 / 6, 1 / 6, 1 / 6, 5 / 6]
    assert {result.stderr for result in ranking.results} == {0}
    assert ranking.reliability == 1
    assert ranking.usage.calls == 0


async def test_a_criterion_that_cannot_be_computed_fails_the_judge(tmp_path: Path) -> None:
    runaway = {"check": "regex", "pattern": "^(a|aa)+$"}
    checks = {"kind": "checks", "criteria": [runaway], "fallback": ["other"]}
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=checks, other=llm(judge.url, passes=1)) as opened,
    ):
        ranking = await opened.ranker.rank(request("a" * 60 + "b", "five"))
    assert ranking.judge == "other"
