"""Short ways to build what the service's tests need: groups, judges, a whole service."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

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
from podium_service.telemetry.metrics import Metrics

LONG = "A trajectory of many words, with \0, \U0001f3c6 and <tags>. " * 20
VERDICT = Verdict([1, 0], ["BCD", "FGH"], [0.9, 0.1], ["best", "worst \U0001f3c6"])


def chat(answer: str, question: str = "What is 2 + 3?") -> list[dict[str, Any]]:
    """A single-turn conversation."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def group(*answers: str, **fields: Any) -> dict[str, Any]:
    """A group in wire form, its trajectories called t0, t1, ..."""
    trajectories = [
        {"id": f"t{index}", "messages": chat(answer)} for index, answer in enumerate(answers)
    ]
    return {"trajectories": trajectories, **fields}


def request(*answers: str, **fields: Any) -> RankRequest:
    return RankRequest.model_validate(group(*answers, **fields))


def llm(url: str, **settings: Any) -> dict[str, Any]:
    """A judge's settings, quick to give up so that tests are fast."""
    return {"model": "m", "base_urls": [url], "attempts": 2, "context_tokens": 32768, **settings}


def estimate(scores: Sequence[Sequence[float]], noise_sd: float | None = None) -> Estimate:
    """The estimate from passes that all show the trajectories in the same order."""
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
    """A whole service in process, its store in `tmp_path`; the embedded default without judges."""
    config = judges_file(tmp_path / "judges.yaml", **judges) if judges else None
    async with open_service(config, str(tmp_path / "podium.db")) as opened:
        yield opened


@asynccontextmanager
async def client(opened: Service, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that talks to the service's app."""
    transport = httpx.ASGITransport(create_app(opened, **settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://podium") as opened_client:
        yield opened_client


def cpu_s(work: Callable[[], object]) -> float:
    """The least CPU time of three runs: other work on the machine makes some of them slower."""
    found = []
    for _ in range(3):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def call(text: str = LONG, verdict: Verdict | None = VERDICT, fault: str | None = None) -> Call:
    """A judge's call that showed two trajectories."""
    prompt = Prompt(
        "scores", [("system", ["Be fair."]), ("user", ["Here: ", text])], ["BCD", "FGH"], [1, 0]
    )
    reply = Reply('{"BCD": \ud83d', "stop", None, Tokens(100, 20, 10), "m\0")
    return Call(prompt, reply, verdict, fault, latency_s=0.5)
