"""The last edges of a trace: the frame that told a browser, and the moment it was painted."""

import time
from typing import Any

import pytest
from common.testing.views import ViewWriter
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE_ID}-b7ad6b7169203331-01"
UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Collects the spans of this process, whichever test module made its provider."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def spans_of(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [
        s for s in exporter.get_finished_spans() if s.name == name and format(s.context.trace_id, "032x") == TRACE_ID
    ]


async def test_sampled_order_then_one_frame_span_continues_its_trace_and_the_browser_ends_it(
    push: Any, writer: ViewWriter, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    client = await push.client()
    await client.subscribe("order:A1")
    await client.until(lambda: "order:A1" in client.rows)
    await writer.write("order", "A1", {"A1.1": {"revision": 1}}, traceparent=SAMPLED)
    await writer.write("order", "A1", {"A1.2": {"revision": 1}}, traceparent=UNSAMPLED)
    await client.until(lambda: len(client.deltas) == 2)
    told, silent = client.deltas
    assert "traceparent" not in silent
    painted_ns = time.time_ns()
    stamps = told["stamps"]
    sample = [stamps["origin_ns"], stamps["committed_ns"], painted_ns, "order", told["traceparent"]]
    await client.send(op="painted", samples=[sample])
    await client.send(op="ping", t=1)
    await client.until(lambda: client.pongs)
    (frame,) = spans_of(exporter, "push frame")
    assert frame.parent is not None
    assert format(frame.parent.span_id, "016x") == "b7ad6b7169203331"
    assert frame.attributes is not None
    assert frame.attributes["tidemark.topic"] == "order:A1"
    (paint,) = spans_of(exporter, "paint")
    assert paint.parent is not None
    assert paint.parent.span_id == frame.context.span_id
    assert paint.end_time == painted_ns
