"""Where the spans of a request go, for `tracing_config` in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


def otlp_exporter() -> list[SpanProcessor]:
    """Send them in batches to a collector, by OTLP over HTTP.

    OpenTelemetry's own variables say where to: OTEL_EXPORTER_OTLP_ENDPOINT (by default
    http://localhost:4318), OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and the others.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return [BatchSpanProcessor(OTLPSpanExporter())]
