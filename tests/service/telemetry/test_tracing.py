"""What traces tell: spans under spans, by the conventions' names, and never a text or a key."""

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from podium_service.http.service import open_service
from podium_service.telemetry.collector import open_tracing
from podium_service.telemetry.otel import OTelTracing, make_provider
from podium_service.telemetry.tracing import UNTRACED
from tests.fakes import ScriptedJudge, Step, by_length, fails, says, scores
from tests.service.helpers import client, group, judges_file, llm
from tests.service.process import running

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
        """The finished ones whose name begins so, in the order of their ends."""
        return [each for each in self.exporter.get_finished_spans() if each.name.startswith(name)]

    def span(self, name: str) -> ReadableSpan:
        [found] = self.spans(name)
        return found


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
    """Of its trace and its own."""
    assert span.context
    return span.context.trace_id, span.context.span_id


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent
    return (child.parent.trace_id, child.parent.span_id) == ids(parent)


async def test_a_ranking_is_three_spans_one_under_the_other_and_under_the_callers(
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
    told = attributes(server)
    assert told[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 200
    assert told["podium.request_id"] == answer.headers["x-request-id"]
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


async def test_a_judge_call_tells_what_the_genai_conventions_name(tmp_path: Path) -> None:
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


async def test_a_failed_call_and_its_group_are_told_by_their_codes(tmp_path: Path) -> None:
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


async def test_the_call_of_a_shared_flight_is_a_child_of_the_group_that_asked_first(
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
        asked = group("an answer", "an answer?", task="a task", rubric="a rubric")
        asked["trajectories"][0]["messages"][0]["content"] = "a question"
        headers = {"authorization": "Bearer sk-caller"}
        failed = await service.http.post("/rank", json=asked, headers=headers)
        assert failed.status_code == 503
        assert (await service.http.post("/rank?key=sk-caller", json=asked)).status_code == 401
        with service.tracing.start_attempt(
            "main", "m", "http://me:hunter2@judge/v1?key=hunter2", 1
        ):
            pass
    finished = service.exporter.get_finished_spans()
    assert [each.name for each in finished].count("chat m") == 3
    told = "".join(each.to_json() for each in finished)
    assert [secret for secret in secrets if secret in told] == []


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP/HTTP, as a collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self.requests: list[ExportTraceServiceRequest] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Export(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            self.server.requests.append(ExportTraceServiceRequest.FromString(content))
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


async def test_spans_reach_a_collector_over_http_before_the_service_is_gone(
    tmp_path: Path,
) -> None:
    with (
        collecting() as collector,
        running(
            "--drain-s", "0", cwd=tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        ) as podium,
    ):  # fmt: skip
        async with podium.client() as http:
            answer = await http.post("/rank", json=group("5", "6", reference="5"), headers=CALLER)
            assert answer.is_success
        podium.send(signal.SIGTERM)
        assert await podium.ended() == 0
        assert podium.logged("not_tracing") == []
    spans: dict[str, Any] = {}
    for sent in (each for request in collector.requests for each in request.resource_spans):
        resource = {each.key: each.value.string_value for each in sent.resource.attributes}
        assert resource["service.name"] == "podium"
        spans |= {each.name: each for scope in sent.scope_spans for each in scope.spans}
    assert set(spans) == {"POST /rank", "rank group"}
    assert spans["rank group"].parent_span_id == spans["POST /rank"].span_id
    assert spans["POST /rank"].trace_id.hex() == TRACE_ID
    assert spans["POST /rank"].parent_span_id.hex() == PARENT_ID


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, ""),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "grpc",
        ),
    ],
)
async def test_nothing_is_traced_unless_the_environment_asks_for_what_can_be_done(
    environ: dict[str, str], said: str
) -> None:
    with capture_logs() as logs:
        async with open_tracing(environ) as tracing:
            assert tracing is UNTRACED
    assert [said in line["detail"] for line in logs] == ([True] if said else [])


async def test_without_the_extra_the_service_goes_untraced_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "podium_service.telemetry.otel", None)
    with capture_logs() as logs:
        async with open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}) as tracing:
            assert tracing is UNTRACED
    assert "pip install 'podium[otel]'" in logs[0]["detail"]


async def test_the_services_name_is_the_environments_where_it_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "rewards")
    provider = make_provider()
    assert provider.resource.attributes["service.name"] == "rewards"
    await OTelTracing(provider).aclose()


class Hanging(InMemorySpanExporter):
    """A collector that takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait(10)
        return super().export(spans)


async def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end() -> None:
    exporter, provider = Hanging(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=1))
    tracing = OTelTracing(provider, flush_s=0.05)
    async with asyncio.timeout(5):
        for _ in range(3000):  # more than its queue holds
            with tracing.start_attempt("main", "m", "http://judge/v1", 1):
                pass
        await tracing.aclose()
    assert not exporter.get_finished_spans()
    exporter.released.set()
