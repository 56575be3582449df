"""Spans: their parents, the names of the conventions, and no text and no key in them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from podium_service.http.service import open_service
from podium_service.telemetry.otel import OTelTracing
from tests.fakes import ScriptedJudge, Step, by_length, fails, says, scores
from tests.service.helpers import client, group, judges_file, llm

pytestmark = pytest.mark.anyio

GOOD = scores(by_length)
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}


@dataclass(frozen=True)
class Traced:
    """A service whose spans stay in memory."""

    http: httpx.AsyncClient
    judge: ScriptedJudge
    tracing: OTelTracing
    exporter: InMemorySpanExporter

    def spans(self, name: str) -> Sequence[ReadableSpan]:
        """Return the finished spans whose name begins so, in the order of their ends."""
        return [each for each in self.exporter.get_finished_spans() if each.name.startswith(name)]

    def span(self, name: str) -> ReadableSpan:
        [span] = self.spans(name)
        return span


@asynccontextmanager
async def traced(
    tmp_path: Path,
    *script: Step,
    always: Step | None = None,
    keys: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = OTelTracing(provider)
    async with ScriptedJudge(script, always=always).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, **settings))
        opening = open_service(config, str(tmp_path / "podium.db"), tracing)
        async with opening as opened, client(opened, api_keys=keys) as http:
            yield Traced(http, judge, tracing, exporter)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the id of the trace and that of the span."""
    assert span.context
    return span.context.trace_id, span.context.span_id


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent
    return (child.parent.trace_id, child.parent.span_id) == ids(parent)


async def test_a_ranking_is_nested_spans_below_the_callers_span(
    tmp_path: Path,
) -> None:
    async with traced(tmp_path, always=GOOD, passes=2) as service:
        answer = await service.http.post("/rank", json=group("5", "five"), headers=CALLER)
        await service.http.get("/metrics")
    server, ranked, calls = service.span("POST"), service.span("rank group"), service.spans("chat")
    finished = service.exporter.get_finished_spans()
    assert len(finished) == 2 + len(calls) == 4  # only rankings are traced
    assert (server.name, server.kind) == ("POST /rank", SpanKind.SERVER)
    assert {call.kind for call in calls} == {SpanKind.CLIENT}
    assert server.parent
    assert server.parent.span_id == int(PARENT_ID, 16)
    assert is_child(ranked, server)
    assert all(is_child(call, ranked) for call in calls)
    assert {ids(each)[0] for each in finished} == {int(TRACE_ID, 16)}
    of_request = attributes(server)
    assert of_request[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 200
    assert of_request["podium.request_id"] == answer.headers["x-request-id"]
    assert attributes(ranked) == {
        "podium.trajectories": 2,
        "podium.outcome": "ranked",
        "podium.ranking_id": answer.json()["id"],
        "podium.judge": "main",
        "podium.method": "listwise",
        "podium.passes": 2,
        "podium.cached": False,
        "podium.reliability": answer.json()["reliability"],
    }


async def test_a_judge_call_has_the_attributes_of_the_conventions(tmp_path: Path) -> None:
    async with traced(tmp_path, GOOD, passes=1, model="m-small", max_tokens=77) as service:
        await service.http.post("/rank", json=group("5", "five"))
        port = int(service.judge.url.split(":")[2].split("/")[0])
    call = service.span("chat")
    assert call.name == "chat m-small"
    assert attributes(call) == {
        gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.CHAT.value,
        gen_ai.GEN_AI_PROVIDER_NAME: gen_ai.GenAiProviderNameValues.OPENAI.value,
        gen_ai.GEN_AI_REQUEST_MODEL: "m-small",
        gen_ai.GEN_AI_REQUEST_MAX_TOKENS: 77,
        gen_ai.GEN_AI_RESPONSE_MODEL: "m-1",
        gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: 100,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: 10,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 40,
        server_attributes.SERVER_ADDRESS: "127.0.0.1",
        server_attributes.SERVER_PORT: port,
        "podium.judge": "main",
    }
    assert call.status.status_code == StatusCode.UNSET


async def test_a_failed_call_and_its_group_carry_their_codes(tmp_path: Path) -> None:
    async with traced(tmp_path, fails(503), GOOD, fails(400), passes=1) as service:
        await service.http.post("/rank", json=group("5", "five"))
        await service.http.post("/rank", json=group("6", "six"))
    first, second, third = service.spans("chat")
    assert attributes(first)["error.type"] == "judge_unavailable"
    assert first.status.status_code == StatusCode.ERROR
    assert "error.type" not in attributes(second)
    assert attributes(third)[error_attributes.ERROR_TYPE] == "parameter_rejected"
    ranked, failed = service.spans("rank group")
    assert attributes(ranked)["podium.outcome"] == "ranked"
    assert attributes(failed)["podium.outcome"] == "judge_rejected"
    assert failed.status.status_code == StatusCode.ERROR
    answered, refused = service.spans("POST")
    assert answered.status.status_code == StatusCode.UNSET
    assert (refused.status.status_code, attributes(refused)["error.type"]) == (
        StatusCode.ERROR,
        "502",
    )


async def test_a_shared_call_is_a_child_of_the_first_group(
    tmp_path: Path,
) -> None:
    async with traced(tmp_path, GOOD, passes=1) as service:
        posts = (service.http.post("/rank", json=group("5", "five")) for _ in range(3))
        await asyncio.gather(*posts)
        await service.http.post("/rank/batch", json={"groups": [group("5", "five")]})
    call, groups = service.span("chat"), service.spans("rank group")
    assert sum(is_child(call, each) for each in groups) == 1
    outcomes = [attributes(each)["podium.outcome"] for each in groups]
    assert sorted(outcomes) == ["cached", "cached", "cached", "ranked"]
    assert is_child(groups[-1], service.spans("POST /rank/batch")[0])


async def test_no_span_holds_a_text_or_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"sk-judge", "sk-caller", "hunter2", "an answer", "a question", "a task", "a rubric"}
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    failing = (says("sk-judge heard an answer"), fails(500, "sk-judge: an answer"))
    async with traced(
        tmp_path, *failing, keys=["sk-caller"], api_key_env="JUDGE_KEY", passes=1, attempts=1
    ) as service:
        body = group("an answer", "an answer?", task="a task", rubric="a rubric")
        body["trajectories"][0]["messages"][0]["content"] = "a question"
        headers = {"authorization": "Bearer sk-caller"}
        failed = await service.http.post("/rank", json=body, headers=headers)
        assert failed.status_code == 503
        assert (await service.http.post("/rank?key=sk-caller", json=body)).status_code == 401
        with service.tracing.start_attempt(
            "main", "m", "http://me:hunter2@judge/v1?key=hunter2", 1
        ):
            pass
    finished = service.exporter.get_finished_spans()
    assert [each.name for each in finished].count("chat m") == 3
    exported = "".join(each.to_json() for each in finished)
    assert [secret for secret in secrets if secret in exported] == []


class Hanging(InMemorySpanExporter):
    """A collector that takes no span until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait(10)
        return super().export(spans)


async def test_a_collector_that_hangs_delays_no_request_and_no_end() -> None:
    exporter, provider = Hanging(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=1))
    tracing = OTelTracing(provider, flush_s=0.05)
    async with asyncio.timeout(5):
        for _ in range(3000):  # more than the queue holds
            with tracing.start_attempt("main", "m", "http://judge/v1", 1):
                pass
        await tracing.aclose()
    assert not exporter.get_finished_spans()
    exporter.released.set()
