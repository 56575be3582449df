"""What a store tells about the past: pages of rankings, one ranking, its calls, and runs."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podium_service.errors import InvalidRequest, JudgeRefused
from podium_service.schemas import JurorResult, Ranking, RankRequest, TrajectoryResult, Usage
from podium_service.store.asks.records import Ask
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import SQLStore, open_store
from tests.service.helpers import LONG, VERDICT, call, group
from tests.service.store.helpers import ASK_IDS, KEY, OTHER_KEY, ranking

pytestmark = pytest.mark.anyio


def results(*rewards: float, **fields: Any) -> list[TrajectoryResult]:
    return [
        TrajectoryResult(id=f"t{i}", rank=1, reward=reward, score=reward, stderr=0.1, **fields)
        for i, reward in enumerate(rewards)
    ]


def asked(
    index: int, *rewards: float, key: str | None = KEY, group_fields: Any = None, **fields: Any
) -> Ask:
    """Return the request for ranking `rk_INDEX`, in step INDEX // 2 of the run `r`."""
    metadata = {"run": "r", "step": index // 2}
    sent = group("5", "6" * 9, group_id=f"g{index}", metadata=metadata, **(group_fields or {}))
    told = {"results": results(*(rewards or (0.9, 0.1))), **fields.pop("ranking", {})}
    answer = fields.pop("answer", None) or ranking(f"rk_{index}", **told)
    paid = Usage(calls=1, prompt_tokens=90, completion_tokens=10, cost_usd=0.5)
    usage = fields.pop("usage", paid)
    return Ask(
        ASK_IDS.next(), RankRequest.model_validate(sent), answer, "main", key, usage=usage,
        latency_s=2.0, **fields,
    )  # fmt: skip


def refused(index: int, **fields: Any) -> Ask:
    ask = asked(index, key=None, answer=JudgeRefused("main: no"), **fields)
    ask.answer.ranking_id = f"rk_{ask.id:016x}"  # type: ignore[union-attr]
    return ask


@asynccontextmanager
async def reading(url: str, *asks: Ask, **settings: Any) -> AsyncIterator[HistoryReader]:
    async with open_store(url, **settings) as store:
        for ask in asks:
            if ask.key:
                await store.add_ranking(ask)
            else:
                store.add_failure(ask)
        await store.flush()
        yield HistoryReader(store)


def store_of(reader: HistoryReader) -> SQLStore:
    return reader._store


async def names(reader: HistoryReader, **filters: Any) -> list[str | None]:
    page = await reader.list_rankings(RankingFilters(**filters))
    return [each.group_id for each in page.rankings]


async def test_an_empty_store_has_no_rankings_and_no_runs(url: str) -> None:
    filters = RankingFilters(run="r", step=0, outcome="failed", flag="f", signal=False, q="q%")
    async with reading(url) as reader:
        assert (await reader.list_rankings()).model_dump() == {"rankings": [], "next": None}
        assert not (await reader.list_rankings(filters, "0" * 16, 1)).rankings
        assert not (await reader.list_runs("0" * 16)).runs
        assert await reader.read_ranking("rk_1") is None
        assert await reader.read_calls("rk_" + "0" * 16) is None
        assert await reader.read_run("r") is None


async def test_a_cursor_that_is_none_is_refused(url: str) -> None:
    async with reading(url) as reader:
        with pytest.raises(InvalidRequest, match="cursor"):
            await reader.list_rankings(cursor="g" * 16)


async def test_pages_are_stable_while_rankings_are_added(url: str) -> None:
    async with reading(url, *(asked(index) for index in range(5))) as reader:
        first = await reader.list_rankings(limit=2)
        await store_of(reader).add_ranking(asked(5))
        second = await reader.list_rankings(cursor=first.next, limit=2)
        third = await reader.list_rankings(cursor=second.next, limit=2)
    pages = [[each.group_id for each in page.rankings] for page in (first, second, third)]
    assert pages == [["g4", "g3"], ["g2", "g1"], ["g0"]]
    assert third.next is None


async def test_each_filter_finds_its_rankings(url: str) -> None:
    jurors = [
        JurorResult(judge="a", model="m", status="counted", weight=1, agreement=tau, reliability=0)
        for tau in (0.2, -0.4)
    ]
    before = time.time()
    asks = [
        asked(0, 0.9, 0.1, ranking={"reliability": 0.8}),
        asked(1, 0.5, 0.5, group_fields={"task": "Add 100%_up."}),
        refused(2),
        asked(3, 0.1, 0.9, ranking={"judge": "panel", "jurors": jurors}),
        asked(4, ranking={"results": results(0.9, 0.1, flags=["steering:rewards", "gate:x"])}),
    ]
    verified = asked(5, 0.1, 0.9)
    for trajectory, reward in zip(verified.request.trajectories, (1.0, 0.0), strict=True):
        trajectory.verified_reward = reward
    async with reading(url, *asks, verified) as reader:
        found = {
            "step": await names(reader, step=0),
            "group_id": await names(reader, group_id="g4"),
            "failed": await names(reader, outcome="failed"),
            "ranked": await names(reader, outcome="ranked", run="r", step=1),
            "code": await names(reader, code="judge_refused"),
            "flag": await names(reader, flag="steering"),
            "no_flag": await names(reader, flag="teering"),
            "reliable": await names(reader, min_reliability=0.8),
            "disagree": await names(reader, max_agreement=0.0),
            "no_signal": await names(reader, signal=False),
            "longest": await names(reader, longest_wins=True),
            "check": await names(reader, check_disagrees=True),
            "q": await names(reader, q="100%_UP"),
            "no_q": await names(reader, q="100_"),
            "since": await names(reader, since=time.time() + 9),
            "all": await names(reader, since=before - 1, run="r"),
            "none": await names(reader, run="another"),
        }
    assert found == {
        "step": ["g1", "g0"], "group_id": ["g4"], "failed": ["g2"], "ranked": ["g3"],
        "code": ["g2"], "flag": ["g4"], "no_flag": [], "reliable": ["g0"], "disagree": ["g3"],
        "no_signal": ["g1"], "longest": ["g5", "g3"], "check": ["g5"], "q": ["g1"], "no_q": [],
        "since": [], "all": ["g5", "g4", "g3", "g2", "g1", "g0"], "none": [],
    }  # fmt: skip


async def test_a_ranking_is_read_with_its_group_and_its_calls(url: str) -> None:
    ask = asked(0, calls={KEY: [0, 1]}, api_key_id="k", request_id="q")
    async with reading(url) as reader:
        store = store_of(reader)
        store.add_call(KEY, 0, "main", call(verdict=None, fault="no JSON"), Usage(calls=1))
        store.add_call(KEY, 0, "main", call(), Usage(calls=1, cost_usd=0.25))
        await store.add_ranking(ask)
        detail = await reader.read_ranking("rk_0")
        by_ask = await reader.read_ranking(f"{ask.id:016x}")
        first, second = await reader.read_calls("rk_0") or []
    assert detail is not None
    assert by_ask == detail
    assert detail.ranking == ask.answer
    assert detail.request is not None
    assert detail.request.trajectories[1].messages[1]["content"] == "6" * 9
    assert (detail.request_id, detail.metadata) == ("q", {"run": "r", "step": 0})
    summary = detail.summary
    assert (summary.run, summary.step, summary.api_key_id) == ("r", 0, "k")
    assert (summary.ids, summary.rewards, summary.lengths) == (["t0", "t1"], [0.9, 0.1], [1, 9])
    assert (summary.prompt, summary.tokens, summary.cost_usd) == ("What is 2 + 3?", 100, 0.5)
    assert (first.fault, first.order) == ("no JSON", [])
    assert second.order == ["t1", "t0"]
    assert second.shown_ids == {"BCD": "t1", "FGH": "t0"}
    assert second.scores == {"t1": 0.9, "t0": 0.1}
    assert second.explanations == {"t1": VERDICT.explanations[0], "t0": VERDICT.explanations[1]}
    assert second.messages[1]["content"] == f"Here: {LONG}"


async def test_a_cached_answer_has_the_ids_of_its_own_caller(url: str) -> None:
    fresh, again = asked(0), asked(0, usage=Usage(), ranking={"cached": True})
    assert isinstance(again.answer, Ranking)
    for trajectory, result in zip(again.request.trajectories, again.answer.results, strict=True):
        trajectory.id = result.id = result.id.upper()
    async with reading(url, fresh, again) as reader:
        second, first = (await reader.list_rankings()).rankings
        details = [await reader.read_ranking(each.ask) for each in (first, second)]
        by_id = await reader.read_ranking("rk_0")
    assert first.id == second.id == "rk_0"
    assert (first.cached, second.cached) == (False, True)
    ids = [[each.id for each in detail.ranking.results] for detail in details]  # type: ignore[union-attr]
    assert ids == [["t0", "t1"], ["T0", "T1"]]
    assert by_id == details[0]


async def test_a_group_that_failed_has_an_id_and_its_calls(url: str) -> None:
    failed = refused(0, calls={OTHER_KEY: [0, 1]})
    async with reading(url, failed) as reader:
        store_of(reader).add_call(
            OTHER_KEY, 0, "main", call(verdict=None, fault="no JSON"), Usage(calls=1)
        )
        await store_of(reader).flush()
        detail = await reader.read_ranking(failed.ranking_id)
        [only] = await reader.read_calls(failed.ranking_id) or []
    assert detail is not None
    assert detail.ranking is None
    assert detail.problem is not None
    assert (detail.problem.code, detail.problem.detail) == ("judge_refused", "main: no")
    assert detail.problem.ranking_id == detail.summary.id == failed.ranking_id
    assert detail.request is not None
    assert only.fault == "no JSON"


async def test_a_store_without_texts_keeps_the_numbers_alone(url: str) -> None:
    secret = results(0.9, 0.1, explanation="hush")
    ask = asked(0, calls={KEY: [0, 1]}, ranking={"results": secret}, usage=Usage())
    ask.request.metadata = {"run": "r", "note": "hush"}
    async with reading(url, refused(1), keep_texts=False) as reader:
        store = store_of(reader)
        store.add_call(KEY, 0, "main", call(), Usage(calls=1))
        store.add_call(KEY, 0, "main", call(verdict=None, fault="hush"), Usage(calls=1))
        await store.add_ranking(ask)
        details = [
            await reader.read_ranking(each.id) for each in (await reader.list_rankings()).rankings
        ]
        calls = await reader.read_calls("rk_0") or []
    texts = str([detail.model_dump() for detail in details if detail])
    assert "hush" not in texts + str(calls)
    assert "main: no" not in texts
    assert "What is" not in texts
    [ranked] = [detail for detail in details if detail and detail.ranking]
    assert ranked.request is None
    assert ranked.summary.rewards == [0.9, 0.1]
    assert [(each.messages, each.reply) for each in calls] == [([], ""), ([], "")]
    assert calls[0].scores == {"t1": 0.9, "t0": 0.1}


async def test_a_run_is_summed_up_by_step(url: str) -> None:
    asks = [
        asked(0, 0.9, 0.1, ranking={"reliability": 0.8}),
        asked(1, 0.5, 0.5, ranking={"reliability": 0.2, "cached": True}, usage=Usage()),
        asked(2, 0.9, 0.1),
        refused(3),
    ]
    asks[2].request.trajectories[0].finish_reason = "length"
    async with reading(url, *asks) as reader:
        detail = await reader.read_run("r")
        page = await reader.list_runs()
    assert detail is not None
    assert page.runs == [detail.summary]
    summary = detail.summary
    assert (summary.groups, summary.failed, summary.last_step) == (4, 1, 1)
    assert (summary.tokens, summary.cost_usd) == (300, 1.5)
    zero, one = detail.steps
    assert (zero.step, zero.groups, zero.ranked, zero.failed, zero.cached) == (0, 2, 2, 0, 1)
    assert zero.reliability == pytest.approx(0.5)
    assert (zero.with_signal, zero.ties, zero.flagged, zero.truncated) == (0.5, 0.5, 0.0, 0.0)
    assert zero.mean_score == pytest.approx(0.5)
    assert zero.mean_length == 5.0
    assert (one.groups, one.ranked, one.failures) == (2, 1, {"judge_refused": 1})
    assert (one.with_signal, one.ties, one.truncated) == (1.0, 0.0, 0.25)


async def test_the_same_prompt_has_a_ranking_before_and_one_after(url: str) -> None:
    async with reading(url, *(asked(index) for index in range(3))) as reader:
        rankings = (await reader.list_rankings()).rankings
        before, after = await reader.list_neighbours(rankings[1])
        none, _ = await reader.list_neighbours(rankings[2])
    assert before is not None
    assert after is not None
    assert (before.group_id, after.group_id, none) == ("g0", "g2", None)
