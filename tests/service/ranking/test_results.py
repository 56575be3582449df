"""Results: client ids in explanations, and verified rewards mixed in."""

from pathlib import Path

import pytest

from podium_service.scoring.rewards import mix_verified_rewards
from tests.fakes import (
    ScriptedJudge,
    by_length,
    scores,
)
from tests.service.helpers import llm, request, service
from tests.service.ranking.worth import verified, worth

pytestmark = pytest.mark.anyio


async def test_explanations_name_the_clients_ids(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five"))
    assert [result.explanation for result in ranking.results] == [
        "t0 is what it is",
        "t1 is what it is",
    ]


def test_the_mixture_of_rewards_worked_out_by_hand() -> None:
    # .75 * .2 + .25 * 1; .75 * .6 + .25 * (0 + .5) / 2.
    assert mix_verified_rewards([0.2, 0.6], [[1.0], [0.0, 0.5]], 0.25) == pytest.approx(
        [0.4, 0.5125]
    )
    assert mix_verified_rewards([0.2, 0.6], [[], []], 0) == [0.2, 0.6]
    assert mix_verified_rewards([0.2, 0.6], [[1.0], [0.0]], 1) == [1.0, 0.0]


async def test_identical_trajectories_share_their_verified_rewards(
    tmp_path: Path,
) -> None:
    async with (
        ScriptedJudge(always=scores(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url, verified_weight=0.5)) as opened,
    ):
        ranking = await opened.ranker.rank(verified(1.0, 0.0, 0.5))
        shared = await opened.ranker.rank(
            verified(1.0, 0.0, 0.0, answers=("worth 0.1", "worth 0.1", "worth 0.9"))
        )
    assert [result.reward for result in ranking.results] == [0.5, 0.25, 0.75]
    assert [result.rank for result in ranking.results] == [3, 2, 1]
    assert [result.reward for result in shared.results] == [0.25, 0.25, 0.5]
    assert all("verified" not in asked.text for asked in judge.asked)


async def test_equal_members_that_fail_a_gate_count_once(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
    ):
        answers = ["worth 0.1", "worth 0.9", ""]
        once = await opened.ranker.rank(request(*answers))
        often = await opened.ranker.rank(request(*answers, "", ""))
        others = await opened.ranker.rank(request(*answers, " ", ""))
    assert [each.reward for each in once.results] == [0.5, 1, 0]
    assert [each.reward for each in often.results] == [0.5, 1, 0, 0, 0]
    assert [each.reward for each in others.results] == pytest.approx([2 / 3, 1, 0, 0, 0])


async def test_gates_come_before_verified_rewards(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url, verified_weight=0.5)) as opened,
    ):
        ranking = await opened.ranker.rank(
            verified(1.0, 0.0, 1.0, answers=("worth 0.1", "worth 0.9", ""))
        )
    assert [result.reward for result in ranking.results] == [0.75, 0.5, 0.0]
    assert ranking.results[2].flags == ["gate:not_empty"]
