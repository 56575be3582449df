"""What verifiers asks for completions leaves nothing behind."""

import asyncio
from contextlib import suppress

import aiohttp
import pytest

from podium_trainer.tasks.environments.policy_endpoint import PolicyEndpoint


@pytest.mark.anyio
async def test_a_request_that_is_given_up_leaves_no_task() -> None:
    others = asyncio.all_tasks()
    endpoint = PolicyEndpoint()
    url = await endpoint.start()
    async with aiohttp.ClientSession() as client:
        request = asyncio.create_task(client.post(f"{url}/chat/completions", json={}))
        await endpoint.next_request()
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
    await endpoint.close()
    assert asyncio.all_tasks() == others
