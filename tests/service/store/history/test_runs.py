"""Runs: groups that only measure are apart from those that are learnt by."""

from math import sqrt
from typing import Any

import pytest

from podium_service.schemas import RankRequest, TrajectoryResult
from podium_service.store.asks.records import Ask
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import SQLStore, open_store
from tests.service.helpers import group
from tests.service.store.helpers import ASK_IDS, KEY, ranking

pytestmark = pytest.mark.anyio


async def add(
    store: SQLStore,
    number: int,
    ranks: dict[str, float],
    verified: float | None = None,
    **meta: Any,
) -> None:
    """Add a group of the run `r`, whose attempts have these ranks."""
    sent = group(*(f"{number} {name}" for name in ranks), metadata={"run": "r"} | meta)
    for name, each in zip(ranks, sent["trajectories"], strict=True):
        each["id"] = name
        each["verified_reward"] = verified
    results = [
        TrajectoryResult(id=name, rank=rank, reward=1 / rank, score=1 / rank, stderr=0.0)
        for name, rank in ranks.items()
    ]
    answer = ranking(f"rk_{number}", results=results, reliability=0.5)
    await store.add_ranking(
        Ask(ASK_IDS.next(), RankRequest.model_validate(sent), answer, "main", KEY)
    )


async def test_the_win_rate_of_a_step_is_of_pairs_with_the_baseline(url: str) -> None:
    async with open_store(url) as store:
        told: dict[str, Any] = {"kind": "win_rate", "baseline_step": 0, "step": 3}
        # "0" and "2" are of step 0: attempts of now tie one of four pairs.
        await add(store, 1, {"0": 1, "1": 2.5, "2": 2.5, "3": 4}, baseline=["0", "2"], **told)
        await add(store, 2, {"0": 2, "1": 1}, baseline=["0"], **told)
        await add(store, 3, {"0": 2, "1": 1}, baseline="0", **told)  # names no ids
        await add(store, 4, {"0": 1, "1": 2}, step=3, steps=40, prompt_id="p", verified=0.5)
        run = await HistoryReader(store).read_run("r")
    assert run
    [step] = run.steps
    assert step.compared == 2
    assert step.win_rate == pytest.approx((0.125 + 1) / 2)
    assert step.win_rate_stderr == pytest.approx((1 - 0.125) / 2 / sqrt(1))
    assert step.groups == 4
    # Means are of the fourth group alone.
    assert step.mean_score == pytest.approx(0.75)
    assert step.verified == pytest.approx(0.5)
    assert run.summary.planned_steps == 40


async def test_an_anchor_is_a_baseline_and_no_more(url: str) -> None:
    async with open_store(url) as store:
        await add(store, 1, {"a": 1, "b": 3, "podium-anchor": 2}, step=1)
        run = await HistoryReader(store).read_run("r")
        [prompt] = await HistoryReader(store).list_prompts("r")
    assert run
    assert (run.steps[0].win_rate, run.steps[0].win_rate_stderr) == (0.5, None)
    # A run learns by such a group, but not by its anchor.
    assert run.steps[0].mean_score == pytest.approx((1 + 1 / 3) / 2)
    assert run.steps[0].mean_length == len("1 a")
    assert run.summary.planned_steps is None
    assert (prompt.groups, prompt.first_step, prompt.last_step) == (1, 1, 1)


async def test_without_texts_a_win_rate_and_the_plan_are_kept(tmp_path: Any) -> None:
    async with open_store(str(tmp_path / "podium.db"), keep_texts=False) as store:
        told: dict[str, Any] = {"kind": "win_rate", "baseline": ["0"], "note": "secret"}
        await add(store, 1, {"0": 2, "1": 1}, step=1, **told)
        await add(store, 2, {"0": 2, "1": 1}, step=1, steps=7, note="secret")
        run = await HistoryReader(store).read_run("r")
        page = await HistoryReader(store).list_rankings()
    assert run
    assert (run.steps[0].win_rate, run.summary.planned_steps) == (1.0, 7)
    assert [each.kind for each in page.rankings] == [None, "win_rate"]


async def test_the_names_of_runs_are_each_there_once(url: str) -> None:
    async with open_store(url) as store:
        reader = HistoryReader(store)
        assert await reader.list_run_names() == []
        for number, run in enumerate(["b", "a", "b", "c/d"]):
            await add(store, number, {"x": 1, "y": 2}, run=run)
        assert await reader.list_run_names() == ["a", "b", "c/d"]
        assert await reader.list_run_names(limit=2) == ["a", "b"]
