"""Groups, clients and servers for the tests of the reward client."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx

from podium.answers import GroupReward
from podium.client import AsyncRankClient
from podium.groups import Trajectory, TrajectoryGroup
from tests.fake_service import (
    Answer,
    Script,
    Wire,
    ranked,
    ranking,
    scripted,
)

KEY = "sk-podium-secret"


REWARDS = {"a": 0.9, "b": 0.1}


def group(group_id: str | None = None, ids: str = "ab", **more: Any) -> TrajectoryGroup:
    messages = [{"role": "user", "content": "2 + 2 ="}, {"role": "assistant", "content": "4"}]
    return TrajectoryGroup([Trajectory(id, messages) for id in ids], group_id, **more)


def client(script: Script, **settings: Any) -> AsyncRankClient:
    return AsyncRankClient("http://podium.test", transport=script.transport, **settings)


def rank_it(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=ranking(json.loads(request.content), REWARDS))


def rank_all(request: httpx.Request) -> httpx.Response:
    groups = json.loads(request.content)["groups"]
    return httpx.Response(
        200, content=b"".join(ranked(i, g, REWARDS) for i, g in enumerate(groups))
    )


async def rank(*answers: Answer, asked: TrajectoryGroup | None = None, **settings: Any) -> Any:
    with scripted(*answers) as script:
        async with client(script, **settings) as podium:
            return await podium.rank(asked or group())


async def rank_many(
    groups: list[TrajectoryGroup], *answers: Answer, **settings: Any
) -> tuple[list[GroupReward], list[Wire]]:
    with scripted(*answers) as script:
        async with client(script, **settings) as podium:
            got = await podium.rank_many(groups)
    return got, script.bodies


def codes(answers: list[GroupReward]) -> list[str | None]:
    return [answer.error.code if answer.error else None for answer in answers]


def asked_for(body: Wire) -> list[str]:
    return [wire["group_id"] for wire in body["groups"]]


GROUPS = [group("g0"), group("g1"), group("g2")]


G0, G1, G2 = (g.to_wire() for g in GROUPS)


def in_a_new_process(code: str) -> str:
    command = [sys.executable, "-c", f"from podium import RankClient; {code}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return run.stdout.strip()


def lines_app(die_after: Callable[[int], int | None], seen: list[list[str]]) -> Any:
    """Return an endpoint whose connection breaks after so many lines of the n-th request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        groups = json.loads(body)["groups"]
        last = die_after(len(seen))
        seen.append([wire["group_id"] for wire in groups])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for index, wire in enumerate(groups[:last]):
            text = ranked(index, wire, REWARDS)
            await send({"type": "http.response.body", "body": text, "more_body": True})
        if last is not None:
            raise ConnectionError("the server dies here")
        await send({"type": "http.response.body", "body": b""})

    return app
