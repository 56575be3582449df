"""The pipeline end to end, against a scripted judge over TCP."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from podium_service.errors import (
    DeadlineExceeded,
    JudgeRejected,
    JudgeUnavailable,
    Overloaded,
    UnknownJudge,
    VerdictInvalid,
)
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking
from podium_service.store.protocol import Store
from tests.fakes import (
    ScriptedJudge,
    by_length,
    fails,
    hangs,
    says,
    scores,
    until,
)
from tests.service.helpers import llm, request, service

pytestmark = pytest.mark.anyio


async def test_a_group_is_ranked_by_four_passes_in_balanced_orders(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length), hold=4).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five", "it is five"))
    assert [result.rank for result in ranking.results] == [3, 2, 1]
    assert [result.reward for result in ranking.results] == [0, 0.5, 1]
    assert ranking.passes == judge.calls == ranking.usage.calls == 4
    assert judge.max_in_flight == 4  # all passes at once
    assert ranking.reliability == 1
    orders = [list(asked.shown.values()) for asked in judge.asked]
    assert sorted(orders.count(order[::-1]) for order in orders) == [1, 1, 1, 1]


async def test_a_signal_test_ties_a_group_of_stored_verdicts(tmp_path: Path) -> None:
    asked, settings = request("5", "five", "it is five"), {"passes": 4}
    noise = Random(1)
    async with ScriptedJudge(always=scores(lambda _: noise.random())).serving() as judge:
        async with service(tmp_path, main=llm(judge.url, **settings)) as opened:
            plain = await opened.ranker.rank(asked)
        async with service(tmp_path, main=llm(judge.url, **settings, signal_test=0.05)) as opened:
            tested = await opened.ranker.rank(asked)
    assert len({result.reward for result in plain.results}) == 3
    assert plain.reliability
    assert [result.reward for result in tested.results] == [0.5] * 3
    assert (tested.reliability, tested.usage.calls) == (0, 0)
    assert tested.id != plain.id


async def test_shown_ids_are_new_in_every_call(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        await opened.ranker.rank(request("5", "five"))
    shown = [shown_id for asked in judge.asked for shown_id in asked.shown]
    assert len(set(shown)) == 8
    assert not {"t0", "t1"} & set(shown)


async def test_a_judge_that_fails_for_good_is_replaced_by_its_fallback(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=says("no verdict")).serving() as bad,
        ScriptedJudge(always=scores(by_length)).serving() as good,
        service(
            tmp_path, main=llm(bad.url, passes=1, fallback=["other"]), other=llm(good.url)
        ) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five"))
        assert (ranking.judge, ranking.fallback_from) == ("other", "main")
        stored = await opened.store.read_ranking(ranking.id)
        assert stored
        assert Ranking.model_validate(stored["answer"]) == ranking
        assert bad.calls == 2  # one corrective retry
        assert ranking.usage.calls == 6  # the failed judge's calls are included
        direct = await opened.ranker.rank(request("5", "five", judge="other"))
    assert direct.cached is True  # its answer was stored under the fallback's key


async def test_a_hung_judge_leaves_time_for_its_fallback(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as hung,
        ScriptedJudge(always=scores(by_length)).serving() as good,
        service(tmp_path, main=llm(hung.url, fallback=["other"]), other=llm(good.url)) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five", deadline_s=6))
    assert ranking.judge == "other"


async def test_the_error_names_every_judge_that_failed(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401, "bad key")).serving() as first,
        ScriptedJudge(always=says("no verdict")).serving() as second,
        service(
            tmp_path,
            main=llm(first.url, fallback=["other"]),
            other=llm(second.url, passes=1),
        ) as opened,
    ):
        with pytest.raises(JudgeRejected, match=r"main: .*401.*; other: .*no JSON object"):
            await opened.ranker.rank(request("5", "five"))


async def test_a_hung_judge_does_not_exceed_the_deadline(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        started = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded, match=r"0\.2 s were not enough for judge main"):
            await opened.ranker.rank(request("5", "five", deadline_s=0.2))
        assert asyncio.get_running_loop().time() - started < 10


async def test_an_unknown_judge_is_refused_by_name(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        with pytest.raises(UnknownJudge, match="'nope' is not configured: use one of checks"):
            await opened.ranker.rank(request("5", "five", judge="nope"))


async def test_a_changed_judges_file_drops_no_request(
    tmp_path: Path,
) -> None:
    async with (
        ScriptedJudge(always=scores(by_length), hold=1000).serving() as old,
        ScriptedJudge(always=scores(by_length)).serving() as new,
        service(tmp_path, main=llm(old.url)) as opened,
    ):
        running = asyncio.create_task(opened.ranker.rank(request("5", "five")))
        await until(lambda: old.in_flight == 4)
        path = tmp_path / "judges.yaml"
        path.write_text(path.read_text().replace(old.url, new.url).replace("model: m", "model: n"))
        opened.ranker.judges.reload()
        old.hold = 0
        assert (await running).model == "m"
        assert (await opened.ranker.rank(request("5", "five"))).model == "n"
        path.write_text("judges: [")
        opened.ranker.judges.reload()
        assert (await opened.ranker.rank(request("6", "six"))).model == "n"


async def test_a_verdict_that_stays_wrong_is_an_error_not_a_reward(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=says('{"ZZZZZ": {"score": 1}}')).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1)) as opened,
    ):
        with pytest.raises(VerdictInvalid, match="'ZZZZZ' is not one of the ids shown"):
            await opened.ranker.rank(request("5", "five"))
    correction = judge.asked[1].body["messages"][-1]["content"]
    assert "'ZZZZZ' is not one of the ids shown" in correction


async def test_a_long_rate_limit_sends_every_group_to_the_fallback(
    tmp_path: Path,
) -> None:
    wait = fails(429, "slow down", Retry_After="100")
    async with (
        ScriptedJudge(always=wait).serving() as busy,
        ScriptedJudge(always=scores(by_length)).serving() as free,
        service(
            tmp_path,
            main=llm(busy.url, passes=1, fallback=["other"]),
            other=llm(free.url, passes=1),
        ) as opened,
    ):
        for answer in ("five", "it is five"):
            ranking = await opened.ranker.rank(request("5", answer))
            assert (ranking.judge, ranking.fallback_from) == ("other", "main")
    assert busy.calls == 1  # the endpoint's wait holds for all groups


def is_full(judge: EndpointJudge) -> bool:
    return judge.queues.endpoint_queue.num_waiting == 1


async def test_a_full_queue_sends_the_group_to_the_fallback(
    tmp_path: Path,
) -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as busy,
        ScriptedJudge(always=scores(by_length)).serving() as free,
        service(
            tmp_path,
            main=llm(busy.url, passes=1, concurrency=1, queue=1, fallback=["other"]),
            alone=llm(busy.url, model="alone", passes=1, concurrency=1, queue=1),
            other=llm(free.url, passes=1),
        ) as opened,
    ):
        tasks = [
            asyncio.create_task(opened.ranker.rank(request(f"{judge}{number}", "x", judge=judge)))
            for judge in ("main", "alone")
            for number in range(2)
        ]
        waiting = [opened.ranker.judges.roster.llms[name] for name in ("main", "alone")]
        await until(lambda: busy.calls == 2 and all(map(is_full, waiting)))
        ranking = await opened.ranker.rank(request("5", "five"))
        assert (ranking.judge, ranking.fallback_from) == ("other", "main")
        with pytest.raises(Overloaded) as refused:
            await opened.ranker.rank(request("5", "five", judge="alone"))
        assert refused.value.retry_after_s
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class SlowStore:
    """A store that takes so many seconds to keep a ranking."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add_ranking(self, *ranking: Any) -> None:
        await asyncio.sleep(self._seconds)
        await self._store.add_ranking(*ranking)


async def test_a_slow_store_does_not_make_another_judge_rank(
    tmp_path: Path,
) -> None:
    judged = scores(by_length)
    async with (
        ScriptedJudge(always=judged).serving() as first,
        ScriptedJudge(always=judged).serving() as second,
        service(
            tmp_path,
            main=llm(first.url, passes=1, fallback=["other"]),
            other=llm(second.url, passes=1),
        ) as opened,
    ):
        slow = cast(Store, SlowStore(opened.store, 3.2))  # main has 3 s of the 6 s
        ranker = Ranker(opened.ranker.judges, slow, opened.metrics)
        ranking = await ranker.rank(request("5", "five", deadline_s=6.0))
    assert (ranking.judge, first.calls, second.calls) == ("main", 1, 0)


async def test_an_outage_stays_retryable_if_the_fallback_is_refused(tmp_path: Path) -> None:
    exact = {"kind": "checks", "criteria": [{"check": "matches_reference"}]}
    async with (
        ScriptedJudge(always=fails(500)).serving() as down,
        service(
            tmp_path, main=llm(down.url, attempts=1, fallback=["exact"]), exact=exact
        ) as opened,
    ):
        with pytest.raises(JudgeUnavailable, match=r"main: .*exact: "):
            await opened.ranker.rank(request("5", "five"))


async def test_clients_that_share_a_failure_get_an_error_of_their_own(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401, "no"), hold=1).serving() as main,
        ScriptedJudge(always=fails(401, "neither")).serving() as other,
        service(
            tmp_path,
            main=llm(main.url, passes=1, fallback=["other"]),
            other=llm(other.url, passes=1),
        ) as opened,
    ):
        group = request("5", "five")
        failures = await asyncio.gather(
            *(opened.ranker.rank(group) for _ in range(4)), return_exceptions=True
        )
    for failure in failures:
        assert isinstance(failure, JudgeRejected)
        assert failure.detail.count("main: ") == failure.detail.count("other: ") == 1
