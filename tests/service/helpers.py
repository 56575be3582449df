"""Build what the service's tests need: groups, judges, a whole service and its clients."""

import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml

from podium_service.http.access.api_key import APIKey, Scope, create_key
from podium_service.http.access.api_key_store import add_key
from podium_service.http.app import create_app
from podium_service.http.service import Service, open_service
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.call import Call
from podium_service.prompts.reply import Reply, Tokens
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Verdict
from podium_service.schemas import RankRequest
from podium_service.scoring.estimate import Estimate, estimate_passes
from podium_service.scoring.noise import JudgeNoise
from podium_service.store.migrations.schema import open_database
from podium_service.store.store import SQLStore
from podium_service.telemetry.metrics import Metrics
from tests.fakes import ScriptedJudge, Step

LONG = "A trajectory of many words, with \0, \U0001f3c6 and <tags>. " * 20
VERDICT = Verdict([1, 0], ["BCD", "FGH"], [0.9, 0.1], ["best", "worst \U0001f3c6"])


def chat(answer: str, question: str = "What is 2 + 3?") -> list[dict[str, Any]]:
    """Return a conversation of one turn."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def group(*answers: str, **fields: Any) -> dict[str, Any]:
    """Return a group as JSON values, with trajectories named t0, t1, ..."""
    trajectories = [
        {"id": f"t{index}", "messages": chat(answer)} for index, answer in enumerate(answers)
    ]
    return {"trajectories": trajectories, **fields}


def request(*answers: str, **fields: Any) -> RankRequest:
    return RankRequest.model_validate(group(*answers, **fields))


def llm(url: str, **settings: Any) -> dict[str, Any]:
    """Return a judge's settings with few attempts, so that tests of failures are fast.

    The number of passes is fixed and there are no audits, so that calls can be counted.
    """
    fixed = {"listwise": 4, "subsets": 4, "pointwise": 2}
    passes = fixed.get(settings.get("method", "listwise"))
    defaults = {"model": "m", "base_urls": [url], "attempts": 2, "context_tokens": 32768}
    return {**defaults, "passes": passes, "audit": 0, **settings}


def estimate(scores: Sequence[Sequence[float]], noise_sd: float | None = None) -> Estimate:
    """Return the estimate from passes that show the trajectories in the same order."""
    noise = JudgeNoise.from_sd(noise_sd) if noise_sd is not None else None
    passes = [(range(len(row)), row) for row in scores]
    return estimate_passes(len(scores[0]), passes, noise)


def endpoint_judge(url: str, **settings: Any) -> EndpointJudge:
    return EndpointJudge("main", LLMJudge.model_validate(llm(url, **settings)), Metrics())


def judges_file(path: Path, **judges: dict[str, Any]) -> Path:
    """Write a judges file whose first judge is the default."""
    path.write_text(yaml.safe_dump({"default_judge": next(iter(judges)), "judges": judges}))
    return path


@asynccontextmanager
async def service(tmp_path: Path, **judges: dict[str, Any]) -> AsyncIterator[Service]:
    """Open a service in this process, with its store in `tmp_path`.

    Without judges it has the embedded default, which compares with a reference.
    """
    config = judges_file(tmp_path / "judges.yaml", **judges) if judges else None
    store = tmp_path / "podium.db"
    if not store.exists():
        store.write_bytes(_empty_store())
    async with open_service(config, str(store)) as opened:
        yield opened


@cache
def _empty_store() -> bytes:
    """Return the file of a new store; creating its tables takes half the time of most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "podium.db"
        open_database(str(path)).close()
        assert [each.name for each in Path(folder).iterdir()] == [path.name]
        return path.read_bytes()


@asynccontextmanager
async def client(opened: Service, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the service's app."""
    transport = httpx.ASGITransport(create_app(opened, **settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened_client:
        yield opened_client


def cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU time of three runs, because other work may slow some down."""
    found = []
    for _ in range(3):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def call(text: str = LONG, verdict: Verdict | None = VERDICT, fault: str | None = None) -> Call:
    """Return a judge's call that showed two trajectories."""
    prompt = Prompt(
        "scores", [("system", ["Be fair."]), ("user", ["Here: ", text])], ["BCD", "FGH"], [1, 0]
    )
    reply = Reply('{"BCD": \ud83d', "stop", None, Tokens(100, 20, 10), "m\0")
    return Call(prompt, reply, verdict, fault, latency_s=0.5)


@asynccontextmanager
async def client_of_judge(
    tmp_path: Path, step: Step, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, ScriptedJudge]]:
    """Yield a client of a service, and its judge `main`, which always takes this step."""
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, **settings)) as opened,
        client(opened) as http,
    ):
        yield http, judge


def batch_lines(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the lines of a batch's response, in the order of the groups."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n") or not answer.text
    lines = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    return sorted(lines, key=lambda line: int(line["index"]))


async def add_new_key(
    store: SQLStore, *scopes: Scope, **limits: Any
) -> tuple[APIKey, dict[str, str]]:
    """Add a new key to the store, and return it with the headers that send it."""
    key, text = create_key("trainer", scopes, **limits)
    await add_key(store, key)
    return key, {"Authorization": f"Bearer {text}"}


@asynccontextmanager
async def client_with_key(
    tmp_path: Path, *scopes: Scope, **limits: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service, APIKey]]:
    """Yield a client that sends the only key of a service, the service, and the key."""
    async with service(tmp_path) as opened:
        key, headers = await add_new_key(opened.store, *scopes, **limits)
        async with client(opened) as http:
            http.headers.update(headers)
            yield http, opened, key


def select_rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query to the store of a running service."""
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def count_verdicts(path: Path) -> int:
    """Return the number of passes whose verdicts are in the store."""
    query = "SELECT DISTINCT key, pass_index FROM calls WHERE verdict IS NOT NULL"
    return len(select_rows(path, query))
