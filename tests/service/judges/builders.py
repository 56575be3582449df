"""Build judges, prompts, endpoints and quotas for the tests of judge calls."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from podium_service.judges.dispatch.endpoint_queue import EndpointQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.dialects.base import Dialect
from podium_service.judges.endpoint.dialects.choice import open_dialect
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.group_budget import Budget
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.call import Call
from podium_service.prompts.templates import Prompt, build_prompt
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.verdict import Verdict
from podium_service.store.quotas.quota_service import AccountSpending, QuotaService
from podium_service.store.quotas.spend import SpendAccount, SpendLimit
from podium_service.telemetry.metrics import Metrics
from tests.fakes import ScriptedJudge, Step, by_length, chooses, scores
from tests.service.helpers import llm, request

GOOD = scores(by_length)
CHOICE = chooses(lambda one, two: 0.75)
PRICE = {"prompt": 1.0, "completion": 10.0}
AT_ONCE = {"min": 64, "max": 64}  # concurrent calls, for tests of something else
LIMITED = RequestContext(api_key_id="a", spend_limit=SpendLimit(usd=0.02))


class FakeQuotas(QuotaService):
    """The quotas of one process, counted by hand.

    Args:
        waits_s: what `take` returns, call by call; 0.0 afterwards.
    """

    def __init__(self, waits_s: Sequence[float] = ()) -> None:
        self.reserved = self.settled = self.most = 0.0
        self.given_back: list[float] = []
        self.num_reads = self.num_takes = 0
        self._waits_s = list(waits_s)

    async def take(self, account: str, per_minute: float, amount: float) -> float:
        self.num_takes += 1
        return self._waits_s.pop(0) if self._waits_s else 0.0

    def give_back(self, account: str, per_minute: float, amount: float) -> None:
        self.given_back.append(amount)

    async def reserve(
        self, accounts: Sequence[SpendAccount], usd: float, *, at: float
    ) -> SpendAccount | None:
        for each in accounts:
            if self.reserved + self.settled + usd > each.limit_usd:
                return each
        self.reserved += usd
        self.most = max(self.most, self.reserved + self.settled)
        return None

    async def read_spending(
        self, accounts: Iterable[SpendAccount], *, at: float
    ) -> dict[SpendAccount, AccountSpending]:
        self.num_reads += 1
        return {each: AccountSpending(self.settled, self.reserved) for each in accounts}

    def settle(
        self, accounts: Sequence[SpendAccount], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None:
        self.reserved -= reserved_usd
        self.settled += spent_usd


@asynccontextmanager
async def open_judge(
    *script: Step,
    always: Step | None = None,
    hold: int = 0,
    slots: int = 10**9,
    quotas: FakeQuotas | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[EndpointJudge, ScriptedJudge]]:
    """Yield a judge and the scripted server behind it."""
    async with ScriptedJudge(script, always=always, hold=hold, slots=slots).serving() as scripted:
        config = LLMJudge.model_validate(llm(scripted.url, **settings))
        judge = EndpointJudge("main", config, Metrics(), quotas)
        try:
            yield judge, scripted
        finally:
            await judge.aclose()


def make_prompt() -> Prompt:
    """Return a prompt that asks for the scores of two trajectories."""
    transcript = transcribe(request("5", "five"), [0, 1])
    return build_prompt("scores", "long", "You are a judge.", transcript, [1, 0])


async def ask(
    judge: EndpointJudge,
    request_context: RequestContext | None = None,
    calls: list[Call] | None = None,
) -> Verdict:
    """Ask for the scores of two trajectories, with at most 500 tokens."""
    on_call = (calls if calls is not None else []).append
    context = request_context or RequestContext()
    return await judge.ask(make_prompt(), 500, on_call, Budget(None), context)


async def choose(judge: EndpointJudge) -> Verdict:
    """Ask which of two trajectories is better, with at most 64 tokens."""
    transcript = transcribe(request("5", "five"), [0, 1])
    prompt = build_prompt("choice", "long", "You are a judge.", transcript, [1, 0])
    return await judge.ask(prompt, 64, lambda call: None, Budget(None), RequestContext())


def endpoint_at(url: str, concurrency: tuple[int, int] = (1, 256)) -> Endpoint:
    """Return an endpoint that speaks OpenAI's API."""
    return Endpoint(url, dialect_at(url), concurrency=concurrency)


def dialect_at(url: str, **settings: Any) -> Dialect:
    """Return the API that a judge's settings name, at the first of its base URLs."""
    config = LLMJudge.model_validate(llm(url, **settings))
    return open_dialect(config, str(config.base_urls[0]))


@asynccontextmanager
async def open_endpoints(number: int, limit: int) -> AsyncIterator[list[Endpoint]]:
    """Yield endpoints that nobody serves, each with places for `limit` calls."""
    endpoints = [
        endpoint_at(f"http://127.0.0.1:9/{index}", concurrency=(limit, limit))
        for index in range(number)
    ]
    try:
        yield endpoints
    finally:
        await asyncio.gather(*(each.aclose() for each in endpoints))


def open_queue(*endpoints: Endpoint) -> EndpointQueue:
    """Return the queue for places at endpoints."""
    return EndpointQueue(endpoints, max_pause_s=5.0, on_change=lambda: None)


async def hold_place(
    queue: EndpointQueue, key: str, served: list[str], done: asyncio.Event
) -> None:
    """Note the API key once its call has a place, and hold that until `done`."""
    async with queue.hold_place(RequestContext(key), b""):
        served.append(key)
        await done.wait()
