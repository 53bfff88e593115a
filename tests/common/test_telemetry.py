"""Trace context between services."""

from contextvars import copy_context

import pytest
from common.contracts.span_ids import ids_of
from common.testing.orders import intent
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from streams.process import telemetry
from streams.process.telemetry import Allowance, BoundedSampler, RequestIds, context_of, is_sampled, to_record
from streams.process.trace_ids import begin_request

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


def test_trace_that_begins_in_a_request_then_it_has_the_id_that_the_answer_names() -> None:
    tracer = TracerProvider(sampler=ALWAYS_ON, id_generator=RequestIds()).get_tracer("test")

    def request() -> tuple[str, str]:
        named = begin_request([(b"accept", b"*/*")])
        with tracer.start_as_current_span("root") as root:
            return named, format_trace_id(root.get_span_context().trace_id)

    first, second = copy_context().run(request), copy_context().run(request)
    assert first[0] == first[1] and second[0] == second[1] and first != second
    with tracer.start_as_current_span("outside of any") as span:
        assert format_trace_id(span.get_span_context().trace_id) not in (first[0], second[0])


def test_new_traces_in_a_flood_then_so_many_are_sampled_and_those_that_were_asked_for_all() -> None:
    sampler = ParentBased(BoundedSampler(ALWAYS_ON, Allowance(3, lambda: 0.0)))
    tracer = TracerProvider(sampler=sampler).get_tracer("test")
    roots = [tracer.start_span("root").is_recording() for _ in range(10)]
    assert roots == [True] * 3 + [False] * 7
    asked = context_of(TRACE + "01")
    assert all(tracer.start_span("asked", asked).is_recording() for _ in range(10))


def test_span_of_a_message_then_it_says_which_order_account_and_symbol() -> None:
    said = intent(account_id="A1", client_order_id="mine", symbol="CEFI")
    assert ids_of(said) == {"account_id": "A1", "symbol": "CEFI", "order_id": "A1.mine"}
    assert ids_of(object()) == {}
