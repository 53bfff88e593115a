"""Traces across Kafka, Redis and HTTP: W3C trace context in and out, OTLP export.

A span costs some hundred microseconds until it is exported, so only messages whose trace is sampled (flag 01 in
``traceparent``) get one, and of those so many a second that a flood of them takes nothing from the money.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streams.process.build_info import version_of
from streams.process.settings import Settings
from streams.process.trace_ids import current_trace_id

_SAMPLED_DIGITS = frozenset("13579bdf")
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("tidemark")
"""Belongs to the provider that is installed when the first span begins."""


class Allowance:
    """A token bucket: ``per_s`` a second, and as many at once."""

    def __init__(self, per_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock_s = clock_s
        self._left = per_s
        self._seen_s = clock_s()

    def take(self) -> bool:
        """Whether there is one left."""
        now_s = self._clock_s()
        self._left = min(self._per_s, self._left + (now_s - self._seen_s) * self._per_s)
        self._seen_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class BoundedSampler(Sampler):
    """For new traces: as another sampler says, but no more a second than there is allowance for."""

    def __init__(self, sampler: Sampler, allowance: Allowance) -> None:
        self._sampler = sampler
        self._allowance = allowance

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        wanted = self._sampler.should_sample(*arguments, **named)
        if wanted.decision is Decision.RECORD_AND_SAMPLE and not self._allowance.take():
            return SamplingResult(Decision.DROP)
        return wanted

    def get_description(self) -> str:
        return f"Bounded{{{self._sampler.get_description()}}}"


class RequestIds(RandomIdGenerator):
    """A trace that begins with a request has the id that the request's answer names."""

    def generate_trace_id(self) -> int:
        given = current_trace_id()
        return int(given, 16) if given else super().generate_trace_id()


_spans = Allowance(0)


def configure_telemetry(service: str, settings: Settings) -> None:
    """Installs the tracer provider of this process. Without an endpoint nothing is exported, context still flows."""
    ratio = settings.trace.ratio if settings.otlp_endpoint else 0.0
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": service,
                "service.version": version_of(service),
                "service.instance.id": settings.worker_id,
            }
        ),
        sampler=ParentBased(BoundedSampler(TraceIdRatioBased(ratio), Allowance(settings.trace.spans_per_s_max))),
        id_generator=RequestIds(),
    )
    if settings.otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=8_192, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    global _spans  # like the provider, one of the process
    _spans = Allowance(settings.trace.spans_per_s_max)


def is_sampled(traceparent: str) -> bool:
    """Whether the sender recorded this trace: bit 0 of the flags (W3C Trace Context 2); bit 1 is for random ids."""
    return traceparent[-1:] in _SAMPLED_DIGITS


def to_record(traceparent: str) -> bool:
    """Whether a message of this trace gets a span now."""
    return is_sampled(traceparent) and _spans.take()


def current_traceparent() -> str:
    """The W3C traceparent of the current span; empty where there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


def context_of(traceparent: str) -> Context:
    """A context whose current span is the sender's."""
    return _propagator.extract({"traceparent": traceparent})


def mark_span(ids: Mapping[str, str]) -> None:
    """Says of the current span what it is about."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes(dict(ids))


@contextmanager
def continued_span(
    name: str,
    traceparent: str,
    kind: SpanKind,
    began_ns: int | None = None,
    ids: Mapping[str, str | bool] | None = None,
) -> Iterator[Span]:
    """A span that continues the sender's trace and is current inside the block; it begins there, or has begun.

    ``ids`` say what it is about.
    """
    context = context_of(traceparent)
    with _tracer.start_as_current_span(name, context, kind, attributes=ids, start_time=began_ns) as span:
        yield span
