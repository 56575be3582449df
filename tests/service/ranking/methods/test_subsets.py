"""Subsets: blocks of a few trajectories, linked, balanced, solved together."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from podium_service.judges.limits import Passes
from podium_service.ranking.methods import Situation
from podium_service.ranking.methods.designs import (
    count_linking_blocks,
    incomplete_blocks,
    links_all,
)
from podium_service.ranking.methods.subsets import SUBSETS
from tests.fakes import ScriptedJudge, scores
from tests.service.helpers import client, group, llm, service
from tests.service.simulated import play, scorer

ITEMS, SIZES, SEEDS = st.integers(7, 64), st.integers(3, 8), st.integers(0, 2**64 - 1)


def situation(num_items: int, size: int, seed: int, passes: Passes) -> Situation:
    return Situation(num_items=num_items, seed=seed, passes=passes, block_size=size)


@given(ITEMS, SIZES, st.integers(1, 60), SEEDS)
@example(9, 8, 60, 0)
@settings(deadline=None)
def test_a_block_has_no_repeats_and_all_are_used_equally_often(
    num_items: int, size: int, count: int, seed: int
) -> None:
    if size >= num_items:
        return
    blocks = incomplete_blocks(num_items, size, count, seed)
    assert [len(set(block)) for block in blocks] == [size] * count
    uses = Counter(item for block in blocks for item in block)
    assert max(uses.values()) - min(uses[item] for item in range(num_items)) <= 1
    assert blocks == incomplete_blocks(num_items, size, count, seed)
    assert blocks[:-1] == incomplete_blocks(
        num_items, size, count - 1, seed
    )  # more calls change none


@given(ITEMS, SIZES, SEEDS, st.integers(1, 6), st.floats(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_questions_link_all_trajectories_in_any_budget(
    num_items: int, size: int, seed: int, least: int, generosity: float
) -> None:
    start = situation(num_items, size, seed, Passes(min=least, max=6))
    calls = int(SUBSETS.min_calls(start) * (1 + generosity))
    truth = [float(each) for each in np.random.default_rng(seed).random(num_items)]
    played, asked = play(SUBSETS, start, scorer(truth, 0.1, np.random.default_rng(1)), calls)
    orders = [each.order for each in played.verdicts.values()]
    assert sum(asked) <= calls
    assert links_all(num_items, orders)
    assert len(SUBSETS.estimate(played).means) == num_items


@given(st.integers(10, 64), st.integers(4, 6), SEEDS)
@settings(max_examples=25, deadline=None)
def test_trajectories_stand_early_as_often_as_late(num_items: int, size: int, seed: int) -> None:
    blocks = incomplete_blocks(num_items, size, -(-num_items * 4 // size), seed)
    slots: dict[int, list[float]] = {}
    for block in blocks:
        for slot, item in enumerate(block):
            slots.setdefault(item, []).append(slot - (size - 1) / 2)
    mean_slots = [sum(each) / len(each) for each in slots.values()]
    assert max(map(abs, mean_slots)) <= (size - 1) / 2 / 2  # never always at one end
    assert np.mean(np.abs(mean_slots)) < 0.2 * (size - 1) / 2 + 0.1


@given(st.integers(10, 40), SEEDS)
@settings(max_examples=20, deadline=None)
def test_trajectories_meet_many_others(num_items: int, seed: int) -> None:
    """Four blocks of five hold 16 others; random blocks would repeat many of them."""
    met: dict[int, set[int]] = {}
    for block in incomplete_blocks(num_items, 5, num_items * 4 // 5, seed):
        for item in block:
            met.setdefault(item, set()).update(set(block) - {item})
    others = np.mean([len(each) for each in met.values()])
    assert others >= 0.75 * min(16, num_items - 1)


def test_blocks_that_do_not_link_raise() -> None:
    with pytest.raises(ValueError, match="2 blocks do not link 6 trajectories"):
        count_linking_blocks(6, [[0, 1, 2], [3, 4, 5]])
    assert count_linking_blocks(5, [[0, 1, 2], [2, 3, 4], [0, 3, 1]]) == 2
    assert not links_all(6, [[0, 1, 2], [3, 4, 5]])
    assert not links_all(3, [])


def test_a_group_that_fits_one_block_is_ranked_listwise() -> None:
    start = situation(4, 5, 1, Passes(min=4, max=4))
    played, asked = play(SUBSETS, start, scorer([0.1, 0.2, 0.3, 0.4], 0, np.random.default_rng(1)))
    assert asked == [4]
    assert all(len(each.order) == 4 for each in played.verdicts.values())
    assert SUBSETS.min_calls(start) == 1


def test_passes_too_few_to_link_all_are_increased() -> None:
    start = situation(60, 3, 1, Passes(min=1, max=1))  # 20 blocks of 3 cannot link 60
    truth = [each / 60 for each in range(60)]
    played, asked = play(SUBSETS, start, scorer(truth, 0, np.random.default_rng(1)))
    assert sum(asked) == SUBSETS.min_calls(start) >= 30
    assert links_all(60, [each.order for each in played.verdicts.values()])


def test_pass_means_and_slot_bias_do_not_reach_the_scores() -> None:
    start = situation(20, 5, 1, Passes(min=4, max=4))
    truth = [each / 20 for each in range(20)]
    played, asked = play(SUBSETS, start, scorer(truth, 0, np.random.default_rng(1), slope=0.4))
    found = SUBSETS.estimate(played)
    assert asked == [16]
    assert np.diff(found.means) == pytest.approx(np.full(19, 0.05), abs=1e-9)


@pytest.mark.anyio
@pytest.mark.parametrize("num_items", [9, 33, 64])
async def test_large_groups_are_ranked_in_blocks_of_five(tmp_path: Path, num_items: int) -> None:
    truth = {f"worth {each:02d}.": each / 100 for each in range(num_items)}

    def score(text: str) -> float:
        return next(value for words, value in truth.items() if words in text)

    async with (
        ScriptedJudge(always=scores(score)).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="subsets")) as opened,
        client(opened) as http,
    ):
        answer = await http.post("/rank", json=group(*truth))
    body = answer.json()
    assert answer.status_code == 200, body
    assert {len(asked.shown) for asked in judge.asked} == {5}
    assert judge.calls == body["usage"]["calls"] <= -(-num_items * 4 // 5) + 1
    assert (body["method"], body["passes"]) == ("subsets", 4)
    rewards = [result["reward"] for result in body["results"]]
    assert kendalltau(rewards, range(num_items)).statistic == pytest.approx(1)
