"""What a group is made of, and what it becomes on the wire."""

import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from openai.types.chat import ChatCompletionMessage

from podium import RankClient, RequestRefused, Trajectory, TrajectoryGroup
from podium.client import AsyncRankClient
from tests.client.helpers import client, codes, group, rank_all
from tests.fake_service import scripted

ASKED = {"role": "user", "content": "2 + 2 ="}
SAID = {"role": "assistant", "content": "4"}


def sent(message: object, **more: Any) -> Any:
    """Return the first trajectory of a group with this message, as it is sent."""
    attempt = Trajectory("a", [ASKED, message], **more)  # type: ignore[list-item]
    return json.loads(TrajectoryGroup([attempt]).to_json())["trajectories"][0]


@pytest.mark.parametrize(
    "message",
    [
        SAID,
        ChatCompletionMessage(role="assistant", content="4"),
        MappingProxyType(SAID),
        np.array([SAID], dtype=object)[0],
    ],
)
def test_messages_of_other_libraries_are_sent_as_they_read(message: object) -> None:
    assert sent(message)["messages"] == [ASKED, SAID]


@pytest.mark.parametrize("reward", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5)])
def test_numbers_of_numpy_are_sent_as_numbers(reward: Any) -> None:
    assert sent(SAID, verified_reward=reward)["verified_reward"] == 0.5


def test_an_array_of_messages_is_sent_as_a_list() -> None:
    messages: Any = np.array([ASKED, SAID], dtype=object)
    wire = json.loads(TrajectoryGroup([Trajectory("a", messages)]).to_json())
    assert wire["trajectories"][0]["messages"] == [ASKED, SAID]


@pytest.mark.parametrize("value", [np.float32("nan"), b"4", object(), {1, 2}])
def test_what_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(RequestRefused, match="is not JSON"):
        sent({"role": "assistant", "content": value})


def test_a_trajectory_that_is_a_dict_is_named_at_once() -> None:
    wrong: Any = [{"id": "a", "messages": []}]
    with pytest.raises(TypeError, match="holds Trajectory objects, not dict: give Trajectory"):
        TrajectoryGroup(wrong)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda c: c.rank(group().to_wire()), "a group is a TrajectoryGroup, not dict: give"),
        (lambda c: c.rank([group()]), "a group is a TrajectoryGroup, not list"),
        (lambda c: c.try_rank(None), "a group is a TrajectoryGroup, not NoneType"),
        (lambda c: c.rank_many(group()), r"give \[group\], or call rank"),
        (lambda c: c.rank_many([group(), "b"]), "a group is a TrajectoryGroup, not str"),
        (lambda c: list(c.rank_as_completed([{}])), "a group is a TrajectoryGroup, not dict"),
    ],
)
def test_what_is_no_group_is_said_in_one_line(call: Callable[[Any], Any], line: str) -> None:
    with RankClient() as podium, pytest.raises(TypeError, match=line):
        call(podium)


@pytest.mark.anyio
async def test_groups_may_come_from_a_generator() -> None:
    with scripted(rank_all) as script:
        async with client(script) as podium:
            assert codes(await podium.rank_many(group(name) for name in "xyz")) == [None] * 3


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"deadline_s": "3"}, "a positive number of seconds, not '3'"),
        ({"deadline_s": None}, "a positive number of seconds, not None"),
        ({"deadline_s": True}, "a positive number of seconds, not True"),
        ({"max_dry": "3"}, "max_dry must be at least 1 or None, not '3'"),
        ({"max_dry": 2.5}, "max_dry must be at least 1 or None, not 2.5"),
        ({"api_key": 5}, "the API key must be text, not int"),
    ],
)
def test_a_setting_of_another_type_is_refused(settings: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        AsyncRankClient(**settings)
