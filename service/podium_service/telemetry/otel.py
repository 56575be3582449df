"""Trace with OpenTelemetry: spans named by its semantic conventions, sent from a thread.

The attributes of a judge call are those of the GenAI conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

import asyncio
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers

from podium_service import __version__
from podium_service.errors import failure_code
from podium_service.prompts.reply import Reply
from podium_service.schemas import Ranking, RankRequest
from podium_service.telemetry.routes import RANK, RANK_BATCH
from podium_service.telemetry.tracing import Span, Tracing

_TRACED_PATHS = (RANK, RANK_BATCH)
_MAX_NAME_CHARS = 128  # of a name that an endpoint sends
# Providers by host; any other one that speaks OpenAI's protocol is `openai` in the conventions.
_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}

Attributes = dict[str, AttributeValue]


def make_provider() -> TracerProvider:
    """Return a provider that sends batches of spans to the endpoint in the environment."""
    defaults = {"service.name": "podium", "service.version": __version__}
    resource = Resource.create({**defaults, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class OTelTracing(Tracing):
    """Sends spans through a provider; `aclose` waits at most `flush_s` seconds for the last."""

    def __init__(self, provider: TracerProvider, *, flush_s: float = 5.0) -> None:
        self._provider = provider
        self._flush_s = flush_s
        self._tracer = provider.get_tracer("podium", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def start_request(self, scope: Mapping[str, Any], request_id: str) -> Span:
        """Start the span of an HTTP request, as a child of the caller's `traceparent`."""
        method, path = scope["method"], scope["path"]
        if method != "POST" or path not in _TRACED_PATHS:
            return super().start_request(scope, request_id)
        parent = self._propagator.extract(Headers(raw=scope["headers"]), context=context.Context())
        attributes: Attributes = {
            "http.request.method": method,
            "http.route": path,
            "url.path": path,
            "url.scheme": scope.get("scheme", "http"),
            "podium.request_id": request_id,
        }
        start = self._tracer.start_span
        return _RequestSpan(start(f"POST {path}", parent, trace.SpanKind.SERVER, attributes))

    def start_group(self, request: RankRequest) -> Span:
        attributes: Attributes = {"podium.trajectories": len(request.trajectories)}
        return _GroupSpan(self._tracer.start_span("rank group", attributes=attributes))

    def start_attempt(self, judge: str, model: str, base_url: str, max_tokens: int) -> Span:
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.request.max_tokens": max_tokens,
            "podium.judge": judge,
            **_server_attributes(base_url),
        }
        start = self._tracer.start_span
        return _AttemptSpan(start(f"chat {model}", None, trace.SpanKind.CLIENT, attributes))

    async def aclose(self) -> None:
        """Send the spans that are left; give up on a collector that does not answer in time."""
        shutdown = threading.Thread(target=self._provider.shutdown, daemon=True)
        shutdown.start()
        await asyncio.to_thread(shutdown.join, self._flush_s)


class _OTelSpan(Span):
    """A span that is the current one while entered, so that later spans become its children."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        context.detach(self._token)
        if error is not None:
            self._set_error(failure_code(error), is_mistake=isinstance(error, Exception))
        self._span.end()

    def _set_error(self, code: str, *, is_mistake: bool) -> None:
        """Record an error by its code alone, because its message may quote a text.

        A cancellation is not a mistake: it leaves the status of the span unset.
        """
        self._span.set_attribute("error.type", code)
        if is_mistake:
            self._span.set_status(trace.StatusCode.ERROR)


class _RequestSpan(_OTelSpan):
    def set_status(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._set_error(str(status), is_mistake=True)


class _GroupSpan(_OTelSpan):
    def set_ranking(self, ranking: Ranking) -> None:
        attributes: Attributes = {
            "podium.outcome": "cached" if ranking.cached else "ranked",
            "podium.ranking_id": ranking.id,
            "podium.judge": ranking.judge,
            "podium.method": ranking.method,
            "podium.passes": ranking.passes,
            "podium.cached": ranking.cached,
        }
        if ranking.fallback_from is not None:
            attributes["podium.fallback_from"] = ranking.fallback_from
        if ranking.reliability is not None:
            attributes["podium.reliability"] = ranking.reliability
        self._span.set_attributes(attributes)

    def _set_error(self, code: str, *, is_mistake: bool) -> None:
        super()._set_error(code, is_mistake=is_mistake)
        self._span.set_attribute("podium.outcome", code)


class _AttemptSpan(_OTelSpan):
    def set_reply(self, reply: Reply) -> None:
        attributes: Attributes = {
            "gen_ai.usage.input_tokens": reply.tokens.prompt,
            "gen_ai.usage.output_tokens": reply.tokens.completion,
            "gen_ai.usage.cache_read.input_tokens": reply.tokens.cached,
        }
        if reply.model:
            attributes["gen_ai.response.model"] = reply.model[:_MAX_NAME_CHARS]
        if reply.finish_reason:
            reason = str(reply.finish_reason)[:_MAX_NAME_CHARS]
            attributes["gen_ai.response.finish_reasons"] = [reason]
        self._span.set_attributes(attributes)


@lru_cache(maxsize=256)
def _server_attributes(base_url: str) -> Attributes:
    """Return provider, host and port of an endpoint, without user, path and query."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    azure = host.endswith(".openai.azure.com")
    return {
        "gen_ai.provider.name": "azure.ai.openai" if azure else _PROVIDERS.get(host, "openai"),
        "server.address": host,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
