"""Lifecycle and venue: many messages at once say and keep what they say and keep one by one, to the byte."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from common.contracts.controls import FIRM, ControlResult, Controls, StateSet, TradingState
from common.contracts.events import ExecType, ReasonCode
from common.contracts.market import mark_clock_key
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_CANCELS,
    ORDERS_EXECUTIONS,
    RISK_CONTROLS,
    RISK_DECISIONS,
    VENUE_ORDERS,
    Topic,
)
from common.contracts.values import SELF_MATCH_MODE, OrderType, SelfMatch, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st
from orders import lifecycle_rows, stages
from orders.app import build
from orders.settings import OrdersSettings
from orders.venue import books
from streams.model.declaration import Stage
from streams.model.framing import value_of
from streams.model.message import Message
from streams.process.settings import RedisSettings
from streams.state.globals import GlobalView

from tests.orders.at_once import BothWays

STAGES: dict[str, Stage] = {}
FORMATS = ("json", "avro")
TRACE = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),)
GARBAGE = (b"", b"{", b'{"type":"decision"}', b"\0\0\0\0\1x", b"null", None)
number = st.integers(0, 5)
account = st.sampled_from("AAB")


@pytest.fixture(autouse=True, scope="module")
def small_rings() -> Iterator[None]:
    """Closed orders and fills are soon forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((lifecycle_rows, "CLOSED_ORDERS_RETAINED"), (stages, "FILLS_RETAINED")):
            patch.setattr(module, name, 2)
        patch.setattr(books, "CLOSED_REMEMBERED", 3)
        yield


def stage(name: str, log_format: str) -> Stage:
    """As the service declares it."""
    if f"{log_format} {name}" not in STAGES:
        declared = build(OrdersSettings(redis=RedisSettings(url=""), log_format=log_format)).stages
        STAGES.update({f"{log_format} {each.name}": each for each in declared})
    return STAGES[f"{log_format} {name}"]


class History:
    """Messages to a stage, in the form that is asked for."""

    def __init__(self, log_format: str) -> None:
        self._framed = log_format == "avro"
        self._offsets: dict[str, int] = defaultdict(int)
        self.messages: list[Message] = []

    def add(self, topic: Topic, key: str, body: Any, *, traced: bool = False) -> None:
        value = body if body is None or isinstance(body, bytes) else topic.schema.encode(body)
        framing = topic.schema.framing
        if self._framed and framing is not None and value and not isinstance(body, bytes):
            value = value_of(value, framing)
        offset = self._offsets[topic.name]
        self._offsets[topic.name] += 1
        self.messages.append(Message(topic, 0, offset, key.encode(), value, 0, TRACE if traced else ()))

    def place(self, topic: Topic) -> int:
        return self._offsets[topic.name]


decided = st.tuples(
    st.just("decided"), account, number, st.sampled_from(("yes", "yes", "yes", "no", "repeat", "odd")),
    st.sampled_from(OrderType), st.booleans(),
)  # fmt: skip
reported = st.tuples(
    st.just("reported"), account, number,
    st.sampled_from((*[ExecType.NEW, ExecType.TRADE, ExecType.TRADE] * 3, *ExecType)), st.sampled_from((30, 100, 100)),
    st.sampled_from(("", "", "", "again", "other order", "cum")),
)  # fmt: skip
canceled = st.tuples(st.just("canceled"), account, number, st.booleans(), st.integers(0, 9))
halted = st.tuples(st.just("halted"), st.sampled_from((FIRM, "A")), st.sampled_from((None, "AAPL", "ELSE", "none")))
garbage = st.tuples(st.just("garbage"), st.sampled_from((RISK_DECISIONS, ORDERS_EXECUTIONS)), st.sampled_from(GARBAGE))
life = st.lists(st.one_of(decided, decided, reported, reported, reported, canceled, halted, garbage), max_size=40)
batches = st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=6)


def lifecycle_history(make: Any, steps: list[Any], log_format: str) -> list[Message]:
    history, cum_qty, said, seq = History(log_format), defaultdict[str, int](int), 0, 0
    for step in steps:
        match step:
            case "decided", account_id, number, verdict, order_type, traced:
                limit = {} if order_type is OrderType.LIMIT else {"limit_price_e4": None}
                intent = make.intent(str(number), account_id=account_id, order_type=order_type, **limit)
                reason = ReasonCode.INSTRUMENT_HALTED if verdict == "no" else None
                changes = {"repeat": verdict == "repeat", "compared": {SELF_MATCH_MODE: 1 + number % 3}} | (
                    {"instrument_id": None} if verdict == "odd" else {}
                )
                decision = make.decision(intent, reason, **changes, intent_offset=history.place(RISK_DECISIONS))
                history.add(RISK_DECISIONS, account_id, decision, traced=traced)
            case "reported", account_id, number, exec_type, qty, oddity:
                order_id = f"{account_id}.{number}"
                said += oddity != "again"
                trade = exec_type is ExecType.TRADE
                cum_qty[order_id] += qty if trade and oddity != "again" else 0
                fields = {"last_qty": qty, "last_price_e4": 990_000} if trade else {}
                ends = exec_type not in (ExecType.NEW, ExecType.TRADE)
                leaves_qty = 0 if ends else max(0, 100 - cum_qty[order_id])
                cum = cum_qty[order_id] + (7 if oddity == "cum" else 0)
                number = said if oddity != "other order" else 1
                report = make.report(
                    number, exec_type, order_id=order_id, cum_qty=cum, leaves_qty=leaves_qty, text="é\n", **fields
                )
                history.add(ORDERS_EXECUTIONS, account_id, report, traced=bool(number % 3))
            case "canceled", account_id, number, mass, offset:
                if mass:
                    body = make.mass_cancel(offset, account_id)
                else:
                    body = make.cancel(f"{account_id}.{number}", offset or None)
                history.add(ORDERS_CANCELS, account_id, body)
            case "halted", owner, symbol:
                seq += 1
                state = StateSet(
                    symbol=symbol if symbol != "none" else None,
                    state=TradingState.HALTED,
                    by="cat",
                    note="w",
                    since_ns=1,
                )
                controls = Controls(account_id=owner, seq=seq, states=() if symbol == "none" else (state,))
                result = ControlResult(
                    account_id=owner, command_id=f"c{seq}", accepted=True, controls=controls, decided_ns=5,
                    command_partition=0, command_offset=seq,
                )  # fmt: skip
                history.add(RISK_CONTROLS, owner, result)
            case "garbage", topic, value:
                history.add(topic, "A", value)
    return history.messages


def in_batches(messages: list[Message], sizes: list[tuple[int, bool]], *, by_topic: bool) -> Iterator[Any]:
    """Batches in which topics stand one behind the other, as an inbox hands them out, or as they are."""
    at = 0
    while at < len(messages):
        for size, crash in sizes:
            batch = messages[at : at + size]
            at += size
            yield sorted(batch, key=lambda each: each.topic.name, reverse=True) if by_topic else batch, crash


@pytest.mark.parametrize("log_format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(steps=life, sizes=batches, by_topic=st.booleans())
def test_lifecycle_at_once_when_any_history_then_as_one_by_one(
    make_once: Any, log_format: str, steps: list[Any], sizes: Any, by_topic: bool
) -> None:
    both = BothWays(stage("lifecycle", log_format), {}, log_format)
    for batch, crash in in_batches(lifecycle_history(make_once, steps, log_format), sizes, by_topic=by_topic):
        both.handle(batch, crash=crash)


@pytest.mark.parametrize("log_format", FORMATS)
def test_lifecycle_at_once_when_the_common_run_then_the_handler_is_not_asked(make_once: Any, log_format: str) -> None:
    declared = stage("lifecycle", log_format)
    steps: list[Any] = [("decided", "A", n, "yes", OrderType.LIMIT, False) for n in range(5)]
    steps += [("reported", "A", n, kind, 100, "") for n in range(5) for kind in (ExecType.NEW, ExecType.TRADE)]
    messages = lifecycle_history(make_once, steps, log_format)
    both = BothWays(declared, {}, log_format)
    for batch in (messages[:5], messages[5:]):
        said = list(declared.batch_handler(batch, both.at_once.tables, 1))  # type: ignore[misc]
        assert [each.messages for each in said if not isinstance(each, int)] == [len(batch)]
        both.discard()
        written = both.handle(batch)
        assert sum(len(records) for _, records in written) == 10  # an event, and an order or none


asked = st.tuples(
    st.just("order"), number, st.sampled_from(Side), st.sampled_from((980_000, 995_000, 1_000_000, 1_010_000)),
    st.integers(1, 8), st.sampled_from(TimeInForce), st.sampled_from(OrderType), st.sampled_from(("AAPL", "MSFT")),
    st.sampled_from((None, None, *SelfMatch)), st.sampled_from((None, None, None, 1, 4)), st.integers(1, 3),
)  # fmt: skip
shown = st.tuples(
    st.just("mark"), st.sampled_from(("AAPL", "MSFT")), st.integers(0, 9), st.booleans(), st.sampled_from("TTTH")
)
tick = st.tuples(st.just("clock"), st.integers(1, 3))
ended = st.tuples(st.just("cancel"), number)
wrong = st.tuples(st.just("garbage"), st.sampled_from((VENUE_ORDERS, MD_MARKS)), st.sampled_from(GARBAGE))
elsewhere = st.tuples(st.just("elsewhere"), number)
floor = st.lists(st.one_of(asked, asked, asked, shown, shown, tick, ended, wrong, elsewhere), max_size=40)
DAY_NS = 86_400_000_000_000


def venue_history(make: Any, steps: list[Any], log_format: str, marks: GlobalView) -> list[Message]:
    history = History(log_format)
    for step in steps:
        match step:
            case "order", number, side, limit, qty, time_in_force, order_type, symbol, self_match, min_qty, day:
                order = make.venue_order(
                    f"A.{number}", side=side, limit_price_e4=limit, qty=qty, time_in_force=time_in_force,
                    order_type=order_type, symbol=symbol, self_match=self_match, min_qty=min_qty,
                    expire_ns=day * DAY_NS if time_in_force is TimeInForce.GTD or day == min_qty == 1 else None,
                )  # fmt: skip
                history.add(VENUE_ORDERS, symbol, order, traced=bool(number % 2))
            case "mark", symbol, size, to_table, state:
                value = make.mark(bid=(990_000, size), ask=(1_000_000, size), symbol=symbol, state=state)
                if to_table:
                    marks.put(symbol.encode(), value, 0, history.place(MD_MARKS))
                history.add(MD_MARKS, symbol, value)
            case "clock", day:
                value = make.clock(day * DAY_NS)
                marks.put(mark_clock_key(0), value, 0, history.place(MD_MARKS))
                history.add(MD_MARKS, mark_clock_key(0).decode(), value)
            case "cancel", number:
                history.add(VENUE_ORDERS, "AAPL", make.venue_cancel(f"A.{number}"))
            case "elsewhere", number:
                history.add(VENUE_ORDERS, "AAPL", make.venue_order(f"A.{number}", instrument_id=9))
            case "garbage", topic, value:
                history.add(topic, "AAPL", value)
    return history.messages


@pytest.mark.parametrize("log_format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(steps=floor, sizes=batches, by_topic=st.booleans())
def test_venue_at_once_when_any_history_then_as_one_by_one(
    make_once: Any, log_format: str, steps: list[Any], sizes: Any, by_topic: bool
) -> None:
    declared = stage("venue", log_format)
    marks = GlobalView(declared.globals()[0])
    both = BothWays(declared, {"marks": marks}, log_format)
    for batch, crash in in_batches(venue_history(make_once, steps, log_format, marks), sizes, by_topic=by_topic):
        both.handle(batch, crash=crash)
