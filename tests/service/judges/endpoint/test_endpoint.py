"""An endpoint is home to its share of prompts, and is called past the environment's proxies."""

import asyncio
from collections import Counter

import pytest

from tests.fakes import (
    by_length,
    scores,
)
from tests.service.judges.builders import (
    GOOD,
    ask,
    endpoint_at,
    open_judge,
)

pytestmark = pytest.mark.anyio


def test_each_endpoint_is_home_to_as_many_prefixes() -> None:
    endpoints = [endpoint_at(f"http://judge-{index}:8000/v1") for index in range(3)]
    homes = Counter(
        max(endpoints, key=lambda each: each.affinity(b"%016d" % number)).base_url
        for number in range(3000)
    )
    assert all(900 < count < 1100 for count in homes.values())


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with open_judge(GOOD) as (judge, _):
        await ask(judge)


async def test_no_more_calls_than_configured_are_active() -> None:
    slow = scores(by_length, delay_s=0.05)
    async with open_judge(always=slow, concurrency=2) as (judge, scripted):
        await asyncio.gather(*(ask(judge) for _ in range(6)))
    assert scripted.max_in_flight == 2
