"""The noise learned from past groups: used by later groups, never by earlier answers."""

from pathlib import Path

import pytest

from tests.fakes import (
    ScriptedJudge,
)
from tests.service.helpers import llm, service
from tests.service.ranking.worth import noisy, numbered, without_cost

pytestmark = pytest.mark.anyio


async def test_an_answer_stays_the_same_as_the_history_grows(
    tmp_path: Path,
) -> None:
    """Compare bit for bit: with no history, a short one, a longer one, and after a restart."""
    main = {"passes": {"min": 2, "max": 4}}
    async with ScriptedJudge(always=noisy(1)).serving() as judge:
        async with service(tmp_path, main=llm(judge.url, **main)) as opened:
            rank = opened.ranker.rank
            early = await rank(numbered(-1))
            for number in range(25):
                await rank(numbered(number))
            middle = await rank(numbered(-2))
            for number in range(25, 60):
                await rank(numbered(number))
            late, calls = await rank(numbered(-3)), judge.calls
            again = [await rank(numbered(number)) for number in (-1, -2, -3)]
        async with service(tmp_path, main=llm(judge.url, **main)) as opened:
            restarted = [await opened.ranker.rank(numbered(number)) for number in (-1, -2, -3)]
    assert early.noise is None
    assert middle.noise
    assert late.noise
    assert 20 <= middle.noise.groups < late.noise.groups
    assert judge.calls == calls
    for before, after, reopened in zip((early, middle, late), again, restarted, strict=True):
        assert without_cost(before) == without_cost(after) == without_cost(reopened)
        assert after.cached


async def test_one_pass_uses_the_noise_that_more_passes_taught(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=noisy(1)).serving() as judge:
        quick, thorough = llm(judge.url, passes=1), llm(judge.url, passes=4)
        async with service(tmp_path, main=quick, thorough=thorough) as opened:
            first = await opened.ranker.rank(numbered(-1, spread=0.8))
            for number in range(25):
                asked = numbered(number)
                asked.judge = "thorough"
                await opened.ranker.rank(asked)
            again = await opened.ranker.rank(numbered(-1, spread=0.8))
            other = await opened.ranker.rank(numbered(-2, spread=0.8))
    assert first.results[0].stderr is None
    assert without_cost(again) == without_cost(first)
    assert again.cached
    assert other.noise
    assert other.reliability is not None
    assert other.results[0].stderr == pytest.approx(0.1, rel=0.3)
    assert other.noise.variance == pytest.approx(0.01, rel=0.3)
