"""Best of: one letter a call, its alternatives' log-probabilities solved over balanced orders."""

from math import exp, log
from pathlib import Path

import pytest

from tests.fakes import names_best
from tests.service.helpers import client_of_judge, group
from tests.service.ranking.worth import worth

pytestmark = pytest.mark.anyio

ANSWERS = ("worth 0.1", "worth 0.5", "worth 0.9")
SLOTS = {0: 0.8, 1: 0.3, 2: 0.0}


def chosen_over(mine: float, other: float) -> float:
    """The chance of a choice between two by their utilities in nats."""
    return 1 / (1 + exp(other - mine))


async def test_rewards_are_the_judges_own_chances(tmp_path: Path) -> None:
    """Utilities .2, 1 and 1.8 nats: each reward is the mean chance over the two others."""
    step = names_best(lambda text: 2 * worth(text))
    async with client_of_judge(tmp_path, step, method="best_of") as (http, judge):
        answer = await http.post("/rank", json=group(*ANSWERS))
    ranking = answer.json()
    assert answer.status_code == 200, ranking
    assert (ranking["method"], ranking["passes"], judge.calls) == ("best_of", 2, 2)
    by_hand = [
        (chosen_over(0.2, 1.0) + chosen_over(0.2, 1.8)) / 2,
        0.5,
        (chosen_over(1.8, 1.0) + chosen_over(1.8, 0.2)) / 2,
    ]
    assert [each["reward"] for each in ranking["results"]] == pytest.approx(by_hand)
    assert [each["rank"] for each in ranking["results"]] == [3, 2, 1]


@pytest.mark.parametrize("passes", [1, 2])
async def test_a_doubt_of_52_to_48_earns_52(tmp_path: Path, passes: int) -> None:
    step = names_best(lambda text: log(0.52) if "first" in text else log(0.48))
    async with client_of_judge(tmp_path, step, method="best_of", passes=passes) as (http, _):
        ranking = (await http.post("/rank", json=group("the first", "the other"))).json()
    rewards = [each["reward"] for each in ranking["results"]]
    assert rewards == pytest.approx([0.52, 0.48])
