"""One LLM judge: stored answers are reused, and callers share runs."""

import asyncio
from pathlib import Path

import pytest
from scipy.special import expit

from podium_service.errors import (
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.prompts.defences.escape import DATAMARK
from podium_service.ranking.methods import METHODS
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    chooses,
    fails,
    hangs,
    later,
    rates,
    scores,
    until,
    whatever_is_asked,
)
from tests.service.helpers import llm, request, service
from tests.service.ranking.worth import STEERING, noisy, numbered, without_cost, worth

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "step"),
    [
        ("listwise", noisy(3, 0.2)),
        ("subsets", noisy(3, 0.2)),
        ("pointwise", rates(lambda text: 9 * worth(text))),
        ("pairwise", chooses(lambda one, two: float(expit(8 * (worth(one) - worth(two)))))),
        ("pairwise", chooses(lambda one, two: worth(one) > worth(two), logprobs=False)),
    ],
)
async def test_a_second_request_gets_the_same_answer_without_calls(
    tmp_path: Path, method: str, step: Step
) -> None:
    settings = {"method": method, "passes": {"min": 1, "max": 3}, "block_size": 3}
    asked = numbered(1, spread=0.8, size=6)
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, **settings)) as opened,
    ):
        first = await opened.ranker.rank(asked)
        calls = judge.calls
        again = await opened.ranker.rank(asked)
    assert judge.calls == calls == first.usage.calls
    assert (again.cached, again.usage.calls) == (True, 0)
    assert without_cost(first) == without_cost(again)


@pytest.mark.parametrize("method", METHODS)
async def test_a_retry_after_a_crash_makes_only_the_missing_call(
    tmp_path: Path, method: str
) -> None:
    """The third reply fails, after the replies of the same round were stored."""
    seen: list[int] = []
    broken = [True]

    def step(asked: Asked) -> Answer:
        seen.append(1)
        if len(seen) == 3 and broken:
            return later(fails(401), 1.5)(asked)
        return whatever_is_asked(worth)(asked)

    settings = {"method": method, "block_size": 3, "concurrency": {"min": 32, "max": 32}}
    async with ScriptedJudge(always=step).serving() as judge:
        async with service(tmp_path, main=llm(judge.url, **settings)) as opened:
            with pytest.raises(JudgeRejected):
                await opened.ranker.rank(numbered(1, spread=0.8))
        broken.clear()
        first_run = judge.calls
        async with service(tmp_path, main=llm(judge.url, **settings)) as opened:
            ranking = await opened.ranker.rank(numbered(1, spread=0.8))
    assert ranking.usage.calls == judge.calls - first_run == 1
    assert [result.rank for result in ranking.results] == [5, 4, 3, 2, 1]
    assert not ranking.cached


async def test_the_same_content_is_answered_from_the_store(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        first = await opened.ranker.rank(request("5", "five", group_id="g1"))
        again = await opened.ranker.rank(request("five", "5", group_id="g2"))
    assert judge.calls == 4
    assert (first.cached, again.cached) == (False, True)
    assert again.id == first.id
    assert again.group_id == "g2"
    assert again.usage.calls == again.usage.prompt_tokens == 0
    assert [r.reward for r in again.results] == [r.reward for r in first.results[::-1]]


async def test_two_requests_at_the_same_moment_share_the_calls(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length, delay_s=0.1)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        both = await asyncio.gather(*(opened.ranker.rank(request("5", "five")) for _ in range(2)))
    assert judge.calls == 4
    assert sum(ranking.usage.calls for ranking in both) == 4
    assert sorted(ranking.cached for ranking in both) == [False, True]


async def test_a_client_that_leaves_does_not_end_the_run_of_another(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length), hold=1000).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        leaver = asyncio.create_task(opened.ranker.rank(request("5", "five")))
        await until(lambda: judge.in_flight == 4)
        stayer = asyncio.create_task(opened.ranker.rank(request("5", "five")))
        await asyncio.sleep(0)
        leaver.cancel()
        judge.hold = 0
        ranking = await stayer
    assert ranking.results[1].reward == 1
    assert judge.calls == 4


async def test_calls_are_cancelled_when_the_last_client_leaves(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        task = asyncio.create_task(opened.ranker.rank(request("5", "five")))
        await until(lambda: judge.in_flight == 4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        live = opened.ranker.judges.roster.llms["main"]
        await until(lambda: live.endpoints[0].num_active == 0)


async def test_a_retry_asks_only_for_the_passes_that_are_missing(tmp_path: Path) -> None:
    script = [scores(by_length)] * 3 + [later(fails(500), 1.0)]
    async with (
        ScriptedJudge(script, always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, attempts=1)) as opened,
    ):
        with pytest.raises(JudgeUnavailable):
            await opened.ranker.rank(request("5", "five"))
        ranking = await opened.ranker.rank(request("5", "five"))
    assert judge.calls == 5
    assert ranking.usage.calls == 1
    assert ranking.cached is False


@pytest.mark.parametrize(
    ("mode", "answer", "marked"),
    [
        ("auto", STEERING, True),
        ("auto", "it is five", False),
        ("always", "it is five", True),
        ("never", STEERING, False),
    ],
)
async def test_spaces_are_datamarked_in_steered_groups(
    tmp_path: Path, mode: str, answer: str, marked: bool
) -> None:
    async with (
        ScriptedJudge(always=scores(lambda text: len(text) / 1e4)).serving() as judge,
        service(tmp_path, main=llm(judge.url, datamark=mode)) as opened,
    ):
        await opened.ranker.rank(request("5 or so", answer))
    for asked in judge.asked:
        system, user = (message["content"] for message in asked.body["messages"])
        assert (DATAMARK in system) == marked
        assert all((DATAMARK in text) == marked for text in asked.shown.values())
        assert (DATAMARK in user) == marked
