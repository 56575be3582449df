"""Serve a fake model over TCP, as `podium judge serve` does with a real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import openai

from podium_service.judges.local.api.app import JudgeServer
from podium_service.judges.local.api.serve import listen, serve_on
from tests.service.judges.local.fake_model import FakeModel

MODEL_ID = "fake"


@dataclass(frozen=True)
class Client:
    """The clients of a server: OpenAI's own, and one for what that would not send."""

    url: str
    openai: openai.AsyncOpenAI
    http: httpx.AsyncClient


@asynccontextmanager
async def serving(model: FakeModel, api_key: str | None = None) -> AsyncIterator[Client]:
    """Serve a model on a loopback port."""
    started, stop = asyncio.Event(), asyncio.get_running_loop().create_future()
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        judge = JudgeServer(model, MODEL_ID, api_key)
        server = asyncio.create_task(serve_on(listener, judge, started.set, stop))
        await started.wait()
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            yield Client(url, client, http)
        model.gate.set()
        stop.set_result(None)
        await server
    assert model.closed
