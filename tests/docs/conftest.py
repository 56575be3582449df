"""A judge that pages can name: the scripted one, on a loopback port of its own."""

import asyncio
import threading
from collections.abc import Iterator
from socket import create_server

import pytest

from tests.fakes import ScriptedJudge, by_length, scores


@pytest.fixture
def judge_url() -> Iterator[str]:
    """Serve a judge that prefers the longer attempt; return its base URL."""
    ready, over = threading.Event(), asyncio.Event()
    judge = ScriptedJudge(always=scores(by_length))
    judge.models = {"data": [{"id": "gpt-5-mini", "object": "model"}]}

    async def serve() -> None:
        async with judge.serving():
            ready.set()
            await over.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30), "the judge did not start"
        yield judge.url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture
def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
