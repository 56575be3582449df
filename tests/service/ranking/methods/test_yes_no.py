"""Yes or no: one trajectory a call, rewarded by the judge's own probabilities."""

from pathlib import Path

import pytest

from tests.fakes import says, says_yes
from tests.service.helpers import client_of_judge, group
from tests.service.ranking.worth import worth

pytestmark = pytest.mark.anyio

ANSWERS = ("worth 0.1", "worth 0.5", "worth 0.9")


async def test_scores_are_the_chances_of_a_yes(tmp_path: Path) -> None:
    """Rewards by hand: .5 + the mean of half the differences, (.8 + .4) / 4 for the best."""
    async with client_of_judge(tmp_path, says_yes(worth), method="yes_no") as (http, judge):
        ranking = (await http.post("/rank", json=group(*ANSWERS))).json()
    assert (ranking["method"], ranking["passes"], judge.calls) == ("yes_no", 1, 3)
    assert [each["score"] for each in ranking["results"]] == pytest.approx([0.1, 0.5, 0.9])
    assert [each["reward"] for each in ranking["results"]] == pytest.approx([0.2, 0.5, 0.8])
    assert [each["rank"] for each in ranking["results"]] == [3, 2, 1]
    assert (ranking["reliability"], ranking["results"][0]["stderr"]) == (None, None)


@pytest.mark.parametrize("passes", [1, 2])
async def test_52_against_48_earns_52(tmp_path: Path, passes: int) -> None:
    step = says_yes(lambda text: 0.52 if "first" in text else 0.48)
    async with client_of_judge(tmp_path, step, method="yes_no", passes=passes) as (http, _):
        ranking = (await http.post("/rank", json=group("the first", "the other"))).json()
    rewards = [each["reward"] for each in ranking["results"]]
    assert rewards == pytest.approx([0.52, 0.48])


async def test_without_probabilities_the_word_counts(tmp_path: Path) -> None:
    step = says_yes(worth, logprobs=False)
    async with client_of_judge(tmp_path, step, method="yes_no") as (http, _):
        asked = group("worth 0.1", "worth 0.2", "worth 0.9")
        ranking = (await http.post("/rank", json=asked)).json()
    assert [each["score"] for each in ranking["results"]] == [0, 0, 1]
    assert [each["reward"] for each in ranking["results"]] == pytest.approx([0.25, 0.25, 1])


async def test_the_question_shows_the_reference_and_one_attempt(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, says_yes(worth), method="yes_no") as (http, judge):
        await http.post("/rank", json=group(*ANSWERS, reference="worth 1.0 & more"))
    for asked in judge.asked:
        user = asked.body["messages"][1]["content"]
        assert "<reference>\nworth 1.0" in user
        assert len(asked.shown) == 1
        assert asked.question == (
            "Is this a correct and complete answer to the task? Reply yes or no."
        )


async def test_a_reply_that_is_neither_is_corrected_once(tmp_path: Path) -> None:
    script = iter([says("Perhaps."), *[says_yes(worth)] * 3])
    async with client_of_judge(
        tmp_path, lambda asked: next(script)(asked), method="yes_no", concurrency=1
    ) as (http, judge):
        ranking = (await http.post("/rank", json=group(*ANSWERS))).json()
    assert ranking["usage"]["calls"] == judge.calls == 4
    corrected = next(asked for asked in judge.asked if len(asked.body["messages"]) == 4)
    assert "one word and nothing else: yes or no" in corrected.body["messages"][-1]["content"]
