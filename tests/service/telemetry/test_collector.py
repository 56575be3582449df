"""Tracing that the environment names: spans reach its collector, or a line says why not."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from podium_service.telemetry.collector import open_tracing
from podium_service.telemetry.otel import OTelTracing, make_provider
from podium_service.telemetry.tracing import UNTRACED
from tests.service.helpers import group
from tests.service.process import running

pytestmark = pytest.mark.anyio

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}


class Collector(ThreadingHTTPServer):
    """Receives spans over OTLP/HTTP, as a collector does."""

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
    """Run a collector."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


async def test_spans_reach_a_collector_before_the_service_ends(tmp_path: Path) -> None:
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
    ("environ", "warning"),
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
async def test_tracing_is_off_unless_the_environment_names_a_collector(
    environ: dict[str, str], warning: str
) -> None:
    with capture_logs() as logs:
        async with open_tracing(environ) as tracing:
            assert tracing is UNTRACED
    assert [warning in line["detail"] for line in logs] == ([True] if warning else [])


async def test_without_the_extra_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "podium_service.telemetry.otel", None)
    with capture_logs() as logs:
        async with open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}) as tracing:
            assert tracing is UNTRACED
    assert "in the clone run pip install '.[otel]'" in logs[0]["detail"]


async def test_the_environment_can_name_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "rewards")
    provider = make_provider()
    assert provider.resource.attributes["service.name"] == "rewards"
    await OTelTracing(provider).aclose()
