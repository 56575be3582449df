"""Groups become request bodies, and answers become rewards or protocol errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.answers import Ranking, results_in_order
from podium.errors import (
    ProtocolError,
    RequestRefused,
)
from podium.groups import Trajectory, TrajectoryGroup
from tests.client.helpers import (
    GROUPS,
    REWARDS,
    asked_for,
    client,
    codes,
    group,
    rank,
    rank_all,
    rank_it,
    rank_many,
)
from tests.fake_service import (
    ranking,
    say,
    scripted,
)


@pytest.mark.anyio
async def test_rewards_come_in_the_order_of_the_request() -> None:
    answer = ranking({}, {"c": 0.3, "a": 0.1, "b": 0.2})
    got = await rank(say(json=answer), asked=group(ids="abc"))
    assert got.rewards == [0.1, 0.2, 0.3]
    assert [result.id for result in got.results] == ["a", "b", "c"]
    assert got.results == got.ranking.results
    assert got.mask is True
    assert got.error is None
    assert got.ranking.judge == "main"


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_a_permutation_moves_no_reward_to_another_id(asked: list[int], answered: list[int]) -> None:
    wire = ranking({}, {str(i): i / 10 for i in answered})
    asked_group = TrajectoryGroup([Trajectory(str(i), []) for i in asked])
    results = results_in_order(asked_group, Ranking.model_validate(wire))
    assert [result.id for result in results] == [str(i) for i in asked]
    assert [result.reward for result in results] == [i / 10 for i in asked]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "answered"),
    [("abc", "ab"), ("ab", "abc"), ("ab", "ax"), ("ab", ""), ("ab", "aab"), ("aa", "aa")],
)
async def test_a_missing_unknown_or_repeated_id_is_an_error(asked: str, answered: str) -> None:
    answer = ranking({}, REWARDS)
    answer["results"] = [{"id": id, "rank": 1, "reward": 0.5} for id in answered]
    with pytest.raises(ProtocolError) as caught:
        await rank(say(json=answer), asked=group(ids=asked))
    assert caught.value.code == "wrong_ids"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reward", ["NaN", "Infinity", "-Infinity", "1e999", "-0.01", "1.01", '"0.8"', "true", "null"]
)
async def test_a_value_outside_0_to_1_never_becomes_a_reward(reward: str) -> None:
    body = json.dumps(ranking({}, {"a": "REWARD", "b": 0.5})).replace('"REWARD"', reward)
    with pytest.raises(ProtocolError, match="reward") as caught:
        await rank(say(content=body.encode()))
    assert not caught.value.retryable


@pytest.mark.anyio
@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_an_infinite_or_nan_number_is_a_protocol_error(number: str) -> None:
    body = json.dumps(ranking({}, REWARDS, reliability="NUMBER")).replace('"NUMBER"', number)
    with pytest.raises(ProtocolError, match="reliability"):
        await rank(say(content=body.encode()))


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id":', b"\xff", b"[" * 5000])
async def test_a_200_that_is_no_ranking_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        await rank(say(content=body))


@pytest.mark.anyio
async def test_an_answer_about_another_group_is_a_protocol_error() -> None:
    answer = ranking({"group_id": "theirs"}, REWARDS)
    with pytest.raises(ProtocolError, match="theirs"):
        await rank(say(json=answer), asked=group("ours"))


@pytest.mark.anyio
async def test_fields_of_a_newer_service_are_ignored() -> None:
    answer = ranking({}, REWARDS, fallback_from="main", new_field={"x": 1}, usage=None)
    got = await rank(say(json=answer))
    assert got.ranking.fallback_from == "main"
    assert got.ranking.model is None


@pytest.mark.anyio
async def test_the_request_holds_the_set_fields_and_the_time_left() -> None:
    messages = [{"role": "user", "content": "hi", "extra": 1}]
    a, b = Trajectory("a", messages, finish_reason="stop", verified_reward=0.0), Trajectory("b", [])
    asked = TrajectoryGroup([a, b], "g", judge="main", task="t", metadata={"step": 12})
    with scripted(rank_it) as script:
        async with client(script, deadline_s=30) as podium:
            await podium.rank(asked)
    (body,) = script.bodies
    assert 20 < body.pop("deadline_s") <= 30
    assert body == {
        "group_id": "g",
        "judge": "main",
        "task": "t",
        "metadata": {"step": 12},
        "trajectories": [
            {"id": "a", "messages": messages, "finish_reason": "stop", "verified_reward": 0.0},
            {"id": "b", "messages": []},
        ],
    }


@pytest.mark.anyio
async def test_a_group_that_json_cannot_carry_fails_alone() -> None:
    nan = TrajectoryGroup([Trajectory("a", [], verified_reward=float("nan")), Trajectory("b", [])])
    surrogate, foreign = group("g\ud800"), group("g3", metadata={"x": object()})
    got, (body,) = await rank_many([nan, GROUPS[0], surrogate, foreign], rank_all)
    assert codes(got) == ["not_json", None, "not_json", "not_json"]
    assert asked_for(body) == ["g0"]
    with pytest.raises(RequestRefused, match="not JSON"):
        await rank(asked=nan)
