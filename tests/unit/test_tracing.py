"""Spans cost nothing where nobody wants them; what is shipped leaves them off."""

from __future__ import annotations

import pytest
import yaml
from opentelemetry import trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from ray._common.utils import import_attr

from deployments.observability.tracing import LongSpan, span
from tests.support.paths import ROOT

SHIPPED = ["serve_config.yaml", "configs/cpu.yaml", "configs/single-gpu.yaml"]


def test_without_tracing_a_span_is_nothing() -> None:
    before = trace.get_current_span()
    with span("search") as inner:
        assert not inner.is_recording()
        assert trace.get_current_span() is before
    generation = LongSpan("generation")
    with generation.inside() as inner:
        assert not inner.is_recording()
    generation.end()


@pytest.mark.parametrize("path", SHIPPED)
def test_what_is_shipped_names_our_exporter_and_leaves_it_off(path: str) -> None:
    tracing = yaml.safe_load((ROOT / path).read_text())["tracing_config"]
    assert tracing["enabled"] is False
    processors = import_attr(tracing["exporter_import_path"])()
    assert [type(processor) for processor in processors] == [BatchSpanProcessor]
    for processor in processors:
        processor.shutdown()
