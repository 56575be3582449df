"""The seam to tracing: requests, groups and judge calls -> spans, or nothing.

Nothing is traced unless the standard environment names a collector, and `otel` then does it. What
is told here never holds texts, keys or whole URLs.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

from service.schemas import Ranking, RankRequest

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

if TYPE_CHECKING:  # it brings the openai client along, and spans may be none
    from service.outbound.reply import Reply

log = structlog.get_logger(__name__)


class Span:
    """Something that takes time, from entering to leaving. This one tells nobody."""

    def __enter__(self) -> "Span":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def answered(self, status: int) -> None:
        """A request was."""

    def ranked(self, ranking: Ranking) -> None:
        """A group was."""

    def replied(self, reply: "Reply") -> None:
        """A judge did."""


_NOTHING = Span()


class Tracing:
    """Traces nothing."""

    def request(self, scope: Mapping[str, Any], request_id: str) -> Span:
        """A request, as ASGI has it; only those for rankings are traced."""
        return _NOTHING

    def group(self, request: RankRequest) -> Span:
        """A group, from its plan to its answer."""
        return _NOTHING

    def attempt(self, judge: str, model: str, base_url: str, max_tokens: int) -> Span:
        """A call to a judge's endpoint."""
        return _NOTHING

    async def aclose(self) -> None:
        """Send what is left."""


UNTRACED = Tracing()


@asynccontextmanager
async def open_tracing(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Tracing]:
    """Traces to the collector that the environment names, or none."""
    tracing = _chosen(environ)
    try:
        yield tracing
    finally:
        await tracing.aclose()


def _chosen(environ: Mapping[str, str]) -> Tracing:
    if not any(environ.get(name) for name in _ENDPOINTS) or _switched_off(environ):
        return UNTRACED
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        log.warning("not_tracing", detail=f"{_PROTOCOLS[1]}={protocol}: only {_PROTOCOL} is spoken")
        return UNTRACED
    try:
        from service.otel import OTelTracing, exporting_provider  # an extra, and slow to import
    except ImportError:
        log.warning("not_tracing", detail="the otel extra is missing: pip install 'podium[otel]'")
        return UNTRACED
    return OTelTracing(exporting_provider())


def _switched_off(environ: Mapping[str, str]) -> bool:
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return disabled or environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
