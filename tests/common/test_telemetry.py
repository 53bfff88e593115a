"""Trace context between services."""

import pytest
from common.runtime import telemetry
from common.runtime.telemetry import Allowance, is_sampled, to_record
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_sampled_is_bit_0_of_the_flags_whatever_the_others_say(flags: str, sampled: bool) -> None:
    assert is_sampled(TRACE + flags) is sampled


def test_no_context_then_not_sampled() -> None:
    assert not is_sampled("")


@pytest.mark.parametrize(("sampler", "sampled"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_context_that_the_sdk_writes_then_read_as_it_was_sampled(sampler: Sampler, sampled: bool) -> None:
    carrier: dict[str, str] = {}
    with TracerProvider(sampler=sampler).get_tracer("test").start_as_current_span("span"):
        TraceContextTextMapPropagator().inject(carrier)
    assert is_sampled(carrier["traceparent"]) is sampled


def test_allowance_in_a_flood_then_as_many_as_it_says_and_more_with_time() -> None:
    now_s = [0.0]
    spans = Allowance(10, lambda: now_s[0])
    assert sum(spans.take() for _ in range(1_000)) == 10
    now_s[0] += 0.55
    assert sum(spans.take() for _ in range(1_000)) == 5
    now_s[0] += 3_600
    assert sum(spans.take() for _ in range(1_000)) == 10


def test_allowance_of_none_or_with_a_clock_that_jumps_back_then_none() -> None:
    now_s = [0.0]
    assert not Allowance(0, lambda: now_s[0]).take()
    spans = Allowance(1, lambda: now_s[0])
    assert spans.take()
    now_s[0] -= 3_600
    assert not spans.take()


def test_messages_in_a_flood_then_spans_for_the_first_sampled_ones_and_none_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry, "_spans", Allowance(2, lambda: 0.0))
    recorded = [to_record(TRACE + flags) for flags in ("00", "01", "00", "01", "01", "01")]
    assert recorded == [False, True, False, True, False, False]
