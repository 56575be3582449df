"""A flipped order: the planned lists in reverse, under a key of their own."""

from pathlib import Path
from typing import Any

import pytest

from podium_service.errors import PodiumError
from podium_service.http.service import Service
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.history.reader import HistoryReader
from tests.fakes import ScriptedJudge, by_length, fails, rates, scores, whatever_is_asked
from tests.service.helpers import group, llm, service

pytestmark = pytest.mark.anyio
SENT = group("a", "bb", "ccc", "dddd", "eeeee", "ffffff")


async def rank(opened: Service, *, flip: bool = True, **fields: Any) -> Ranking:
    sent = RankRequest.model_validate({**SENT, **fields, "flip_order": flip})
    return await opened.ranker.rank(sent)


async def orders_of(opened: Service, ranking: Ranking) -> dict[int, list[str]]:
    """Return the lists that the judge was shown, by the index of the question."""
    calls = await HistoryReader(opened.store).read_calls(ranking.id)
    assert calls
    return {call.pass_index: call.order for call in calls if call.order}


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("listwise", {"passes": 3}),
        ("subsets", {"block_size": 4, "passes": 2}),
        ("pairwise", {"passes": 1}),
        ("pairwise", {"passes": 1, "budget": {"calls": 16}}),
    ],
)
async def test_each_list_is_shown_in_reverse(
    tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    step = whatever_is_asked(by_length)
    async with ScriptedJudge(always=step).serving() as judge:
        settings = llm(judge.url, method=method, **settings)
        async with service(tmp_path, main=settings) as opened:
            planned, flipped = await rank(opened, flip=False), await rank(opened)
            assert planned.id != flipped.id
            assert (planned.usage.calls, flipped.cached) == (flipped.usage.calls, False)
            before, after = [await orders_of(opened, each) for each in (planned, flipped)]
            assert after == {index: order[::-1] for index, order in before.items()}
            assert (await rank(opened)).cached
    assert [each.rank for each in flipped.results] == [6, 5, 4, 3, 2, 1]


async def test_a_retry_asks_only_for_what_a_flipped_run_lacks(tmp_path: Path) -> None:
    step = whatever_is_asked(by_length)
    async with ScriptedJudge([step, step, fails(400)], always=step).serving() as judge:
        settings = llm(judge.url, method="pairwise", passes=1, concurrency=1, attempts=1)
        async with service(tmp_path, main=settings) as opened:
            with pytest.raises(PodiumError):
                await rank(opened)
            ranking = await rank(opened)
            orders = await orders_of(opened, ranking)
    assert ranking.usage.calls < 30
    assert sorted(orders.values()) == sorted(
        [f"t{i}", f"t{j}"] for i in range(6) for j in range(6) if i != j
    )


async def test_a_judge_of_single_attempts_has_no_order_to_flip(tmp_path: Path) -> None:
    async with ScriptedJudge(always=rates(by_length)).serving() as judge:
        settings = llm(judge.url, method="pointwise", passes=1)
        async with service(tmp_path, main=settings) as opened:
            planned, flipped = await rank(opened, flip=False), await rank(opened)
    assert flipped.id == planned.id
    assert flipped.cached


async def test_each_juror_is_shown_the_reverse(tmp_path: Path) -> None:
    async with ScriptedJudge(always=scores(by_length)).serving() as judge:
        members = {name: llm(judge.url, model=name, passes=1) for name in ("one", "two")}
        panel = {"kind": "jury", "members": ["one", "two"]}
        async with service(tmp_path, panel=panel, **members) as opened:
            reader = HistoryReader(opened.store)
            found = []
            for flip in (False, True):
                calls = await reader.read_calls((await rank(opened, flip=flip)).id)
                found.append({call.judge: call.order for call in calls or []})
                assert set(found[-1]) == {"one", "two"}
    assert found[1] == {judge: order[::-1] for judge, order in found[0].items()}
