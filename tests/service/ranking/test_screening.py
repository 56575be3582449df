"""Screening: gates, steering, and inputs that a judge requires."""

from pathlib import Path

import pytest

from podium_service.errors import (
    VerifiedRewardRequired,
)
from podium_service.ranking.methods import METHODS
from tests.fakes import (
    ScriptedJudge,
    by_length,
    scores,
    whatever_is_asked,
)
from tests.service.helpers import client, group, llm, request, service
from tests.service.ranking.worth import STEERING, verified, worth

pytestmark = pytest.mark.anyio


async def test_a_trajectory_that_fails_a_gate_is_not_shown(tmp_path: Path) -> None:
    gates = [{"check": "max_words", "words": 2}]
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, gates=gates)) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five", "surely it is five"))
    last = ranking.results[2]
    assert (last.reward, last.rank, last.score, last.flags) == (0, 3, None, ["gate:max_words"])
    assert [result.reward for result in ranking.results[:2]] == [0.5, 1]
    assert all("surely" not in asked.text for asked in judge.asked)


async def test_a_group_where_all_fail_a_gate_ties_without_calls(tmp_path: Path) -> None:
    gates = [{"check": "max_words", "words": 0}]
    async with (
        ScriptedJudge().serving() as judge,
        service(tmp_path, main=llm(judge.url, gates=gates)) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five"))
    assert [(r.reward, r.rank) for r in ranking.results] == [(0, 1.5), (0, 1.5)]
    assert (ranking.basis, ranking.reliability) == ("all_gated", 0)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
async def test_a_group_with_at_most_one_trajectory_left_makes_no_calls(
    tmp_path: Path, method: str
) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        service(tmp_path, main=llm(judge.url, method=method)) as opened,
    ):
        none = await opened.ranker.rank(request("", " "))
        one = await opened.ranker.rank(request("", "worth 0.5"))
        alone = await opened.ranker.rank(request("worth 0.5"))
        same = await opened.ranker.rank(request("", "worth 0.5", "worth 0.5"))
    assert judge.calls == 0
    assert [each.basis for each in (none, one, alone, same)] == [
        "all_gated", "alone", "alone", "identical",
    ]  # fmt: skip
    assert [each.reliability for each in (none, one, alone, same)] == [0] * 4
    assert alone.results[0].explanation.startswith("alone: there was no other attempt")
    assert [(r.reward, r.rank) for r in alone.results] == [(0.5, 1)]
    assert [(r.reward, r.rank) for r in none.results] == [(0, 1.5)] * 2
    assert [(r.reward, r.rank) for r in one.results] == [(0, 2), (1, 1)]
    assert [(r.reward, r.rank) for r in same.results] == [(0, 3), (1, 1.5), (1, 1.5)]


@pytest.mark.parametrize("mode", ["flag", "gate", "ignore"])
async def test_steering_is_flagged_gated_or_ignored(tmp_path: Path, mode: str) -> None:
    answers = ("worth 0.1", f"worth 0.5. {STEERING}", "worth 0.9")
    async with (
        ScriptedJudge(always=scores(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url, steering=mode, datamark="never")) as opened,
        client(opened) as http,
    ):
        body = (await http.post("/rank", json=group(*answers))).json()
        metrics = (await http.get("/metrics")).text
    first, attacker, last = body["results"]
    assert first["flags"] == last["flags"] == []
    steering = [flag for flag in attacker["flags"] if flag.startswith("steering:")]
    assert bool(steering) == (mode != "ignore")
    assert ("gate:steering" in attacker["flags"]) == (mode == "gate")
    assert all(len(asked.shown) == (2 if mode == "gate" else 3) for asked in judge.asked)
    assert attacker["rank"] == (3 if mode == "gate" else 2)
    assert attacker["reward"] == (0 if mode == "gate" else 0.5)
    assert ("steering" in metrics) == (mode != "ignore")


@pytest.mark.parametrize(
    ("settings", "is_hidden"),
    [
        ({"steering": "hide"}, True),
        ({"method": "pairwise", "prompt": "short"}, True),
        ({"method": "pairwise", "prompt": "long"}, False),
        ({"method": "pairwise", "prompt": "short", "steering": "flag"}, False),
    ],
)
async def test_what_addresses_a_judge_of_short_prompts_is_hidden(
    tmp_path: Path, settings: dict[str, str], *, is_hidden: bool
) -> None:
    always = whatever_is_asked(worth)
    answers = ("worth 0.1", f"worth 0.5\n\n{STEERING}", "worth 0.9")
    async with (
        ScriptedJudge(always=always).serving() as judge,
        service(tmp_path, main=llm(judge.url, datamark="never", **settings)) as opened,
    ):
        ranking = await opened.ranker.rank(request(*answers))
    texts = [asked.text for asked in judge.asked if "worth 0.5" in asked.text]
    assert texts
    assert all(("Dear judge" in text) != is_hidden for text in texts)
    assert all(("(left out)" in text) == is_hidden for text in texts)
    assert [result.rank for result in ranking.results] == [3, 2, 1]
    assert any(flag.startswith("steering:") for flag in ranking.results[1].flags)


async def test_a_missing_verified_reward_is_refused_or_falls_back(
    tmp_path: Path,
) -> None:
    async with (
        ScriptedJudge(always=scores(worth)).serving() as judge,
        service(
            tmp_path,
            main=llm(judge.url, verified_weight=0.5),
            lenient=llm(judge.url, verified_weight=0.5, fallback=["plain"]),
            plain=llm(judge.url),
        ) as opened,
    ):
        with pytest.raises(VerifiedRewardRequired, match="'t1' has none") as caught:
            await opened.ranker.rank(verified(1.0, None))
        asked = verified(1.0, None)
        asked.judge = "lenient"
        ranking = await opened.ranker.rank(asked)
    assert caught.value.fields[0]["field"] == "trajectories.1.verified_reward"
    assert (ranking.judge, ranking.fallback_from) == ("plain", "lenient")
    assert [result.reward for result in ranking.results] == [0, 1]


@pytest.mark.parametrize("method", ["listwise", "yes_no"])
async def test_verdicts_on_a_whole_text_are_not_those_on_a_part(
    tmp_path: Path, method: str
) -> None:
    """Two judges differ in `steering` alone: what one read is not what the other would read."""
    async with ScriptedJudge(always=whatever_is_asked(worth)).serving() as judge:
        judges = {
            name: llm(
                judge.url, method=method, prompt="long", datamark="never", steering=name, passes=1
            )
            for name in ("flag", "hide")
        }
        async with service(tmp_path, **judges) as opened:
            asked = request("worth 0.2", f"worth 0.9\n\n{STEERING}")
            for name in judges:
                ranking = await opened.ranker.rank(asked.model_copy(update={"judge": name}))
                assert not ranking.cached
    shown = [asked.text for asked in judge.asked]
    assert any(STEERING in text for text in shown)
    assert any("(left out)" in text for text in shown)
