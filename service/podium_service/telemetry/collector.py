"""Open the tracing that the environment names: spans go to its collector, or nowhere."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from podium_service.telemetry.tracing import UNTRACED, Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_tracing(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Tracing]:
    """Open tracing to the collector of the standard variables, if one is named, and close it."""
    tracing = _make_tracing(environ)
    try:
        yield tracing
    finally:
        await tracing.aclose()


def _make_tracing(environ: Mapping[str, str]) -> Tracing:
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_disabled |= environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
    if is_disabled or not any(environ.get(name) for name in _ENDPOINTS):
        return UNTRACED
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        detail = f"{_PROTOCOLS[1]}={protocol}: only {_PROTOCOL} is supported"
        log.warning("not_tracing", detail=detail)
        return UNTRACED
    try:
        # An extra, and slow to import.
        from podium_service.telemetry.otel import OTelTracing, make_provider
    except ImportError:
        log.warning(
            "not_tracing",
            detail="the otel extra is missing: in the clone run pip install '.[otel]'",
        )
        return UNTRACED
    return OTelTracing(make_provider())
