"""Open the tracing that the environment asks for: spans sent to a collector, or none."""

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
        from podium_service.telemetry.otel import (  # an extra, and slow to import
            OTelTracing,
            exporting_provider,
        )
    except ImportError:
        log.warning("not_tracing", detail="the otel extra is missing: pip install 'podium[otel]'")
        return UNTRACED
    return OTelTracing(exporting_provider())


def _switched_off(environ: Mapping[str, str]) -> bool:
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return disabled or environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
