"""Reading bodies: their time, their memory, and their number of values."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request

from podium_service.errors import BodyTooLarge, BodyTooSlow, Overloaded
from podium_service.http.requests.body import read_json
from podium_service.http.requests.body_memory import MemoryBudget, MemoryShare
from tests.service.helpers import client, group, service
from tests.service.http.bad_requests import good

pytestmark = pytest.mark.anyio


class Arriving:
    """A request whose body comes in these parts, and then does not end."""

    def __init__(self, *parts: bytes, budget: MemoryBudget | None = None) -> None:
        self._parts = list(parts)
        self.body_memory = MemoryShare(budget or MemoryBudget())
        scope = {
            "type": "http", "method": "POST", "path": "/rank",
            "state": {"body_memory": self.body_memory},
            "headers": [(b"content-type", b"application/json")],
        }  # fmt: skip
        self.request = Request(scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": True}


async def test_a_body_that_arrives_too_slowly_is_refused() -> None:
    with pytest.raises(BodyTooSlow, match=r"^5 bytes of the body came in 0\.05 s"):
        await read_json(Arriving(b"[", b"1, 2").request, 100, patience_s=0.05)


async def test_each_64_kB_of_a_body_extend_its_time_by_a_second() -> None:
    slow = Arriving(b" " * 20_000)
    started = asyncio.get_running_loop().time()
    with pytest.raises(BodyTooSlow):
        await read_json(slow.request, 10**6, patience_s=0.0)
    assert asyncio.get_running_loop().time() - started >= 20_000 / 65_536 - 0.01


async def test_bodies_over_the_memory_budget_are_refused() -> None:
    budget = MemoryBudget(capacity=1000)
    with pytest.raises(BodyTooSlow):
        await read_json(Arriving(b" " * 600, budget=budget).request, 10**6, patience_s=0.01)
    second = Arriving(b" " * 600, budget=budget)
    with pytest.raises(Overloaded, match="hold 600 of 1000 bytes"):
        await read_json(second.request, 10**6)
    with pytest.raises(BodyTooLarge, match="over 1000 bytes of memory"):
        await read_json(Arriving(b" " * 1001, budget=budget).request, 10**6)


async def test_memory_is_released_with_the_response(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        opened.body_memory = MemoryBudget(capacity=100_000)
        async with client(opened) as http:
            bodies: list[Any] = [good(), {"trajectories": []}, [[]] * 1000]
            for body in bodies:
                await http.post("/rank", json=body)
                await http.post("/rank/batch", json={"groups": [body]})
                assert opened.body_memory.held == 0
            many_values = await http.post("/rank", json=good(metadata={"a": [[]] * 2000}))
    assert many_values.status_code == 413


async def test_marks_of_json_inside_texts_do_not_count_as_values(http: httpx.AsyncClient) -> None:
    code = "[{,\\" * 250_000
    answer = await http.post("/rank", json=group("5", code, reference="5"))
    assert answer.status_code == 200


REFERENCE = {"reference": "5"}


async def test_json_sent_as_text_is_refused(
    http: httpx.AsyncClient,
) -> None:
    # A web page of another origin may send text/plain to loopback, but no JSON.
    answer = await http.post(
        "/rank", content=json.dumps(group("5", "6", **REFERENCE)),
        headers={"Content-Type": "text/plain", "Origin": "http://evil.example"},
    )  # fmt: skip
    assert answer.status_code == 415
    assert "access-control-allow-origin" not in answer.headers
