"""Yes or no: one trajectory a call, rewarded by the judge's own probabilities."""

import asyncio
from pathlib import Path

import pytest

from tests.fakes import ScriptedJudge, fails, says, says_yes
from tests.service.helpers import client, client_of_judge, group, llm, service
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
        [user] = asked.body["messages"]
        assert "Reference answer:\nworth 1.0 & more\n\nAnswer:\nworth" in user["content"]
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
    corrected = next(asked for asked in judge.asked if len(asked.body["messages"]) == 3)
    assert "one word and nothing else: yes or no" in corrected.body["messages"][-1]["content"]


async def test_groups_share_the_answers_about_equal_trajectories(tmp_path: Path) -> None:
    """Asked once in all: by later groups, by two at once, and after a restart."""
    one, two = group("worth 0.1", "worth 0.5"), group("worth 0.5", "worth 0.9")
    both = group("worth 0.1", "worth 0.9")
    async with ScriptedJudge(always=says_yes(worth)).serving() as judge:
        main = llm(judge.url, method="yes_no")
        async with service(tmp_path, main=main) as opened, client(opened) as http:
            answers = await asyncio.gather(*(http.post("/rank", json=each) for each in (one, two)))
        async with service(tmp_path, main=main) as opened, client(opened) as http:
            third = (await http.post("/rank", json=both)).json()
            again = (await http.post("/rank", json=both)).json()
    assert judge.calls == 3
    assert sum(answer.json()["usage"]["calls"] for answer in answers) == 3
    assert (third["usage"]["calls"], third["usage"]["prompt_tokens"], third["cached"]) == (
        0, 0, True,
    )  # fmt: skip
    assert [each["score"] for each in third["results"]] == pytest.approx([0.1, 0.9])
    assert third["results"] == again["results"]


@pytest.mark.parametrize("fields", [{"task": "another"}, {"reference": "5"}, {"rubric": "new"}])
async def test_another_question_shares_no_answers(tmp_path: Path, fields: dict[str, str]) -> None:
    async with client_of_judge(tmp_path, says_yes(worth), method="yes_no") as (http, judge):
        for group_fields in ({}, fields):
            await http.post("/rank", json=group("worth 0.1", "worth 0.5", **group_fields))
    assert judge.calls == 4


async def test_each_pass_asks_anew(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, says_yes(worth), method="yes_no", passes=2) as (http, j):
        await http.post("/rank", json=group("worth 0.1", "worth 0.5"))
        await http.post("/rank", json=group("worth 0.1", "worth 0.9"))
    assert j.calls == 6


async def test_a_failed_answer_is_not_shared(tmp_path: Path) -> None:
    script = [fails(401), fails(401)]
    async with (
        ScriptedJudge(script, always=says_yes(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="yes_no")) as opened,
        client(opened) as http,
    ):
        failed = await http.post("/rank", json=group("worth 0.1", "worth 0.5"))
        ranked = await http.post("/rank", json=group("worth 0.1", "worth 0.5"))
    assert failed.status_code == 502
    assert ranked.status_code == 200
