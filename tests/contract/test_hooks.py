"""Hooks whose trainers are not at hand, against a real service over TCP."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from podium.answers import GroupReward
from podium.errors import NothingRanked, RequestRefused
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.bridge import BridgeClient
from podium.integrations.slime import group_rm
from tests.fakes import ScriptedJudge, Step, by_length, fails, scores
from tests.service.helpers import chat, llm, service
from tests.service.tcp import serving

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def served(tmp_path: Path, step: Step) -> AsyncIterator[tuple[str, ScriptedJudge]]:
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        serving(opened) as url,
    ):
        yield url, judge


async def join(client: BridgeClient, name: str, answer: str, group: str = "g") -> GroupReward:
    alone = TrajectoryGroup([Trajectory(name, chat(answer))], group_id=group)
    return await client.try_join(alone, group_size=2, patience_s=60, deadline_s=60)


async def test_members_that_join_from_two_clients_get_their_own_reward(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scores(by_length)) as (url, judge),
        BridgeClient(url) as one,
        BridgeClient(url) as two,
    ):
        short, long = await asyncio.gather(join(one, "a", "5"), join(two, "b", "five"))
    assert (short.rewards, long.rewards) == ([0], [1])
    assert short.ranking is not None
    assert len(short.ranking.results) == 2
    assert len(judge.asked) == 4


async def test_seventy_members_wait_for_those_who_come_after_them(tmp_path: Path) -> None:
    """A client of `/rank` has 64 connections, and the 65th member would never be sent."""
    async with served(tmp_path, scores(by_length)) as (url, judge), BridgeClient(url) as client:
        firsts = [join(client, "a", "equal", f"g{n}") for n in range(70)]
        seconds = [join(client, "b", "equal", f"g{n}") for n in range(70)]
        outcomes = await asyncio.gather(*firsts, *seconds)
    assert [outcome.rewards for outcome in outcomes] == [[0.5]] * 140
    assert not judge.asked


async def test_a_member_that_does_not_agree_stops_its_run(tmp_path: Path) -> None:
    async with served(tmp_path, scores(by_length)) as (url, _), BridgeClient(url) as client:
        alone = TrajectoryGroup([Trajectory("a", chat("5"))], group_id="g", judge="mian")
        with pytest.raises(RequestRefused, match="unknown_judge"):
            await client.try_join(alone, group_size=1)


class Status(Enum):
    COMPLETED = "completed"
    TRUNCATED = "truncated"


@dataclass
class Sample:
    """The fields of slime's `Sample` that the hook uses."""

    response: str
    prompt: str | list[dict[str, str]] = "What is 2 + 3?"
    label: str | None = "5"
    group_index: int | None = 7
    reward: Any = None
    status: Status = Status.COMPLETED
    remove_sample: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


def arguments(url: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(
        podium_url=url, podium_judge="main", grpo_std_normalization=False, **more
    )


async def test_slime_gets_a_reward_for_each_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [Sample("5"), Sample("five"), Sample("fifth", status=Status.TRUNCATED)]
    async with served(tmp_path, scores(by_length)) as (url, judge), httpx.AsyncClient() as http:
        rewards = await group_rm(arguments(url, wandb_group="sums"), samples)
        page = capsys.readouterr().err.split()[-1]
        assert page == f"{url}/ui/runs/sums"
        assert (await http.get(page)).status_code == 200
    assert rewards == [0, 0.5, 1] == [sample.reward for sample in samples]
    assert not any(sample.remove_sample for sample in samples)
    assert samples[0].metadata["podium/groups_ranked"] == 1
    assert "5" in judge.asked[0].text


async def test_slime_leaves_a_failed_group_out_as_a_whole(tmp_path: Path) -> None:
    samples = [Sample("5"), Sample("five")]
    async with served(tmp_path, fails(401, "bad key")) as (url, _):
        assert await group_rm(arguments(url), samples) == [0, 0]
        assert all(sample.remove_sample for sample in samples)
        await group_rm(arguments(url), samples)
        with pytest.raises(NothingRanked):
            await group_rm(arguments(url), samples)


async def test_slime_rollouts_that_were_cut_get_one_reward_each(tmp_path: Path) -> None:
    rollouts: Sequence[list[Sample]] = [[Sample("5"), Sample("5 or 6")], [Sample("a longer one")]]
    async with served(tmp_path, scores(by_length)) as (url, _):
        rewards = await group_rm(arguments(url), rollouts)
    assert rewards == [0, 1]
    assert [[sample.reward for sample in rollout] for rollout in rollouts] == [[0, 0], [1]]


async def test_the_bridge_has_its_words_in_errors_that_pickle(tmp_path: Path) -> None:
    async with served(tmp_path, scores(by_length)) as (url, _), BridgeClient(url) as client:
        alone = TrajectoryGroup([Trajectory("a", chat("5"))], group_id="g")
        outcome = await client.try_join(alone, group_size=2, patience_s=0.05)
    assert outcome.error is not None
    assert pickle.loads(pickle.dumps(outcome.error)).code == "group_incomplete"
