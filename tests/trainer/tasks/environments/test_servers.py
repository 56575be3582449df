"""Environments behind real servers over TCP, which count for each episode apart."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from podium_trainer.tasks import open_task
from podium_trainer.tasks.environments.episodes import Fields, ServerError
from podium_trainer.tasks.task import Task, TaskError
from tests.trainer.rollout.conftest import Play, play, tools

__all__ = ["play", "tools"]


def observe(count: int, seed: Any) -> dict[str, Any]:
    """Write an answer in OpenEnv's form."""
    observation = {"text": f"{seed}: {count}", "metadata": {}}
    return {"observation": observation, "reward": 0.25 * bool(count), "done": count == 2}


def gym() -> web.Application:
    """Serve POST /reset and POST /step; the server names its sessions itself."""
    counts: dict[str, int] = {}

    async def reset(request: web.Request) -> web.Response:
        body = await request.json()
        session = f"session-{len(counts)}"
        counts[session] = 0
        return web.json_response({**observe(0, body["seed"]), "session_id": session})

    async def step(request: web.Request) -> web.Response:
        body = await request.json()
        match body["action"]["message"]:
            case "break":
                return web.Response(status=500, text="it broke")
            case "hang":
                await asyncio.sleep(60)
            case "nothing":
                return web.json_response({})
        counts[body["session_id"]] += 1
        return web.json_response(observe(counts[body["session_id"]], "on"))

    app = web.Application()
    app.add_routes([web.post("/reset", reset), web.post("/step", step)])
    return app


def openenv() -> web.Application:
    """Serve OpenEnv's WebSocket, with room for four sessions."""
    open_sessions: set[int] = set()

    async def session(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if len(open_sessions) == 4:
            error = {"message": "no room", "code": "CAPACITY_REACHED"}
            await socket.send_json({"type": "error", "data": error})
            await socket.close()
            return socket
        open_sessions.add(id(socket))
        count, seed = 0, None
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            asked = message.json()
            if asked["type"] == "close":
                break
            if asked["type"] == "reset":
                count, seed = 0, asked["data"]["seed"]
            elif asked["data"]["message"] == "break":
                error = {"message": "it broke", "code": "EXECUTION_ERROR"}
                await socket.send_json({"type": "error", "data": error})
                continue
            else:
                count += 1
            await socket.send_json({"type": "observation", "data": observe(count, seed)})
        open_sessions.discard(id(socket))
        return socket

    app = web.Application()
    app.add_routes([web.get("/ws", session)])
    return app


@contextmanager
def serving(make: Callable[[], web.Application]) -> Iterator[str]:
    """Serve an application on a free port in a thread; yield its address."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(make(), shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"{host}:{port}"

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module", params=["gym", "openenv"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with serving(gym if request.param == "gym" else openenv) as address:
        yield f"http://{address}" if request.param == "gym" else f"ws://{address}/ws"


def open_server(url: str, **options: Any) -> Task:
    return open_task("environment_server", {"urls": [url], "instructions": "Play.", **options})


def test_each_attempt_is_an_episode_of_its_own(play: Play, url: str) -> None:
    task = open_server(url)
    assert task.environment is not None
    prompt = task.train[0]
    assert (prompt.row, prompt.messages[0]["role"]) == ({"seed": 10}, "system")
    [group] = play(task.environment, *"abcdef", prompts=[prompt], group_size=3)
    for attempt in group:
        said = [m["content"] for m in attempt.messages if m["role"] == "user"]
        assert [text.split(": ")[1] for text in said] == ["0", "1", "2"]
        assert said[0] == "10: 0"
        assert (attempt.environment_reward, attempt.finish_reason) == (0.5, "stop")


def test_an_error_of_the_server_costs_its_attempt(
    play: Play, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = open_server(url)
    assert task.environment is not None
    [group] = play(
        task.environment, "a", "break", "b", "c", "d", prompts=task.train[:1], group_size=3
    )
    assert len(group) == 2
    assert "it broke" in caplog.text
    assert url in caplog.text


@pytest.mark.parametrize("fault", ["hang", "nothing"])
def test_a_slow_or_empty_answer_costs_its_attempt(play: Play, fault: str) -> None:
    with serving(gym) as address:
        task = open_server(f"http://{address}")
        assert task.environment is not None
        assert play(task.environment, fault, prompts=task.train[:1], timeout_s=0.6) == [[]]


def test_sessions_are_closed_for_the_next_ones(play: Play) -> None:
    with serving(openenv) as address:
        task = open_server(f"ws://{address}/ws", resets=[{"seed": n} for n in range(4)], held_out=0)
        assert task.environment is not None
        for prompt in task.train:
            [group] = play(task.environment, *"abcdefgh", prompts=[prompt], group_size=4)
            assert len(group) == 4
        [crowd] = play(task.environment, *"abcdefgh", prompts=task.train[:1], group_size=5)
        assert len(crowd) == 4


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/ws", "http://127.0.0.1:1"])
def test_no_server_costs_the_group_and_one_line(
    play: Play, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    task = open_server(url)
    assert task.environment is not None
    assert play(task.environment, prompts=task.train[:1]) == [[]]
    [record] = caplog.records
    assert f"reset raised ServerError: {url}" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("fields", "text", "action"),
    [
        (Fields("message", None), "hi", {"message": "hi"}),
        (Fields(None, None), "hi", "hi"),
        (Fields("message", None), '{"x": 1}', {"x": 1}),
        (Fields("message", None), "[1]", {"message": "[1]"}),
    ],
)
def test_a_completion_becomes_an_action(fields: Fields, text: str, action: Any) -> None:
    assert fields.write({"role": "assistant", "content": text}) == action


@pytest.mark.parametrize(
    ("name", "observation", "text"),
    [
        (None, "plain", "plain"),
        (None, {"text": "a", "x": 1}, "a"),
        (None, {"messages": [{"role": "user", "content": "a"}]},
         [{"role": "user", "content": "a"}]),
        (None, {"x": 1}, '{"x": 1}'),
        ("x", {"x": "b", "text": "a"}, "b"),
    ],
)  # fmt: skip
def test_an_observation_becomes_a_text(name: str | None, observation: Any, text: Any) -> None:
    step = Fields(None, name).read({"observation": observation, "truncated": True})
    assert step == (text, True, None, True)


@pytest.mark.parametrize(
    ("ends", "is_truncated"),
    [
        ({"done": True}, False),
        ({"done": True, "truncated": True}, True),
        ({"terminated": True, "truncated": True}, False),
    ],
)
def test_an_episode_that_a_limit_ends_is_cut_off(ends: Any, is_truncated: bool) -> None:
    step = Fields(None, None).read({"observation": "over", **ends})
    assert (step.is_done, step.is_truncated) == (True, is_truncated)


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(ServerError, match="has no text 'y'; its fields are x"):
        Fields(None, "y").read({"observation": {"x": 1}})
    with pytest.raises(TaskError, match="must be URLs such as ws://"):
        open_server("localhost:8000")
