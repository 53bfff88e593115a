"""Twins against the models that are the truth: the same bytes written, the same values read, nothing read that is not
the model's."""

import json
from typing import Any, cast

import pytest
from common.avro.codec import AvroFraming
from common.avro.twins import TwinFraming
from common.contracts.events import (
    Decision,
    ExecType,
    ExecutionReport,
    MarkRead,
    OrderEvent,
    OrderIntent,
    OrderState,
    ReasonCode,
    VenueCancel,
    VenueOrder,
)
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, VENUE_ORDERS
from common.contracts.twins import TwinUnsupported, alike, reader_of, replaced, twin_of, written
from common.contracts.values import INT64_MAX, OrderType, SelfMatch, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, astuple
from pydantic import BaseModel, Field

ids = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)
order_ids = st.from_regex(r"[A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]{1,64}", fullmatch=True)
symbols = st.from_regex(r"[A-Z0-9][A-Z0-9.+=^#*/$!~%-]{0,15}", fullmatch=True)
naturals = st.integers(0, INT64_MAX)
integers = st.integers(-INT64_MAX, INT64_MAX)
text = st.text(st.characters(codec="utf-8"))
BY_TYPE: dict[Any, Any] = {str: text, int: integers, bool: st.booleans()}
BY_NAME: dict[str, Any] = {
    "order_id": order_ids, "account_id": ids, "client_order_id": ids, "symbol": symbols, "revision": st.integers(1, 99),
    "instrument_id": st.integers(0, 2**31 - 1), "protection_price_e4": naturals, "last_price_e4": naturals,
    "limit_price_e4": naturals, "bid_e4": naturals, "ask_e4": naturals, "last_e4": naturals,
    "state": st.sampled_from(OrderState),
    "side": st.sampled_from(Side), "order_type": st.sampled_from(OrderType),
    "time_in_force": st.sampled_from(TimeInForce),
    "exec_type": st.sampled_from(ExecType), "reason": st.sampled_from(ReasonCode), "conflict": text,
    "min_qty": integers, "self_match": st.sampled_from(SelfMatch), "ref_execution_id": text,
    "compared": st.dictionaries(text, integers, max_size=3),
}  # fmt: skip


def messages(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any message of a model, with every field that must be there, and those that need not be."""
    named: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name == "type":
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            of = messages(field.annotation)
        elif name == "mark":
            of = messages(MarkRead)
        else:
            of = BY_NAME[name] if name in BY_NAME else naturals if name.endswith("_ns") else BY_TYPE[field.annotation]
        named[name] = st.none() | of if field.default is None else of
    return st.builds(model, **named)


MODELS: tuple[type[BaseModel], ...] = (OrderEvent, ExecutionReport, VenueOrder, Decision, OrderIntent)
TWINS = {model: twin_of(model) for model in MODELS}
SHOWN = {model: twin_of(model, nulls=True) for model in (OrderEvent, ExecutionReport)}
any_message = st.sampled_from(MODELS).flatmap(messages)


@settings(deadline=None, max_examples=60)
@given(message=any_message)
def test_twin_when_it_reads_what_the_model_wrote_then_it_writes_the_same(message: BaseModel) -> None:
    value = message.model_dump_json(exclude_none=True).encode()
    twin = reader_of(TWINS[type(message)])(value)
    assert written(twin) == written(message) == value
    for name in type(message).model_fields:
        if not isinstance(getattr(message, name), BaseModel):
            assert getattr(twin, name) == getattr(message, name)
            assert type(getattr(twin, name)) is type(getattr(message, name))


@settings(deadline=None, max_examples=60)
@given(message=st.sampled_from(sorted(SHOWN, key=str)).flatmap(messages))
def test_twin_with_nulls_writes_what_the_model_shows(message: BaseModel) -> None:
    model: Any = type(message)
    twin: Any = reader_of(TWINS[model])(written(message))
    assert written(SHOWN[model](*astuple(twin))) == message.model_dump_json().encode()


oddities: st.SearchStrategy[Any] = st.sampled_from(
    (None, "", "a\n", "\na", "ä", " ", "x" * 200, "0", 0, 1, -1, 1.0, 1.5, True, False, [], {}, {"a": 1}, {"a": "1"},
     INT64_MAX, INT64_MAX + 1, -INT64_MAX, -INT64_MAX - 1, 2**31, 10**40, "B", "LIMIT", "ACME", "A.1", "decision",
     "new")
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(message=any_message, data=st.data())
def test_twin_reads_nothing_that_the_model_refuses_and_no_other_values(message: BaseModel, data: st.DataObject) -> None:
    model = type(message)
    datum = json.loads(written(message))
    for name in data.draw(st.lists(st.sampled_from([*model.model_fields, "unknown"]), min_size=1, max_size=2)):
        at = datum
        if isinstance(datum.get(name), dict) and datum[name] and data.draw(st.booleans()):
            at, name = datum[name], data.draw(st.sampled_from([*datum[name], "unknown"]))
        if data.draw(st.booleans()):
            at[name] = data.draw(oddities)
        else:
            at.pop(name, None)
    value = json.dumps(datum).encode()
    try:
        twin = reader_of(TWINS[model])(value)
    except ValueError:
        return
    assert written(twin) == written(model.model_validate_json(value))


@pytest.mark.parametrize("value", [b"", b"{", b"null", b"[]", b"\xff", b'{"qty":1}'])
def test_twin_when_it_is_no_message_then_refused(value: bytes) -> None:
    with pytest.raises(ValueError):
        reader_of(TWINS[OrderEvent])(value)


def test_replaced_and_alike_take_either() -> None:
    model = OrderIntent(
        account_id="a", client_order_id="1", symbol="ACME", side=Side.BUY, order_type=OrderType.MARKET, qty=1, sent_ns=2
    )
    twin: Any = reader_of(TWINS[OrderIntent])(written(model))
    assert replaced(model, qty=5).qty == replaced(twin, qty=5).qty == 5
    assert alike(model, OrderIntent, TWINS[OrderIntent]) is OrderIntent
    assert alike(twin, OrderIntent, TWINS[OrderIntent]) is TWINS[OrderIntent]
    assert asdict(twin)["limit_price_e4"] is None


FRAMINGS: dict[Any, Any] = {
    topic: TwinFraming(cast(AvroFraming, topic.schema.framing), TWINS[model])
    for topic, model in (
        (ORDERS_EVENTS, OrderEvent),
        (ORDERS_EXECUTIONS, ExecutionReport),
        (VENUE_ORDERS, VenueOrder),
        (RISK_DECISIONS, Decision),
    )
}
MODEL_OF: dict[Any, type[BaseModel]] = {
    ORDERS_EVENTS: OrderEvent, ORDERS_EXECUTIONS: ExecutionReport, VENUE_ORDERS: VenueOrder, RISK_DECISIONS: Decision
}  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(data=st.data(), topic=st.sampled_from(sorted(FRAMINGS, key=str)))
def test_twin_is_framed_as_the_general_codec_frames_its_text(data: st.DataObject, topic: Any) -> None:
    message = data.draw(messages(MODEL_OF[topic]))
    twin = reader_of(TWINS[type(message)])(written(message))
    framed = topic.schema.framing.framed(written(message))
    assert FRAMINGS[topic].write(twin) == framed
    assert FRAMINGS[topic].read(framed) == twin
    cut = data.draw(st.integers(0, len(framed) - 1))
    for damaged in (framed[:cut], framed + b"x", b"\0\0\0\0\7" + framed[5:]):
        with pytest.raises(ValueError):
            FRAMINGS[topic].read(damaged)


def test_framed_twin_when_it_is_the_other_record_of_its_topic_then_refused() -> None:
    cancel = VenueCancel(order_id="A.1", account_id="A", symbol="ACME", instrument_id=1, side=Side.BUY, sent_ns=1)
    framing: Any = VENUE_ORDERS.schema.framing
    with pytest.raises(ValueError):
        FRAMINGS[VENUE_ORDERS].read(framing.framed(written(cancel)))


class Odd(BaseModel):
    weight: float = Field(multiple_of=0.5)


class Mixed(BaseModel):
    either: int | str


@pytest.mark.parametrize("model", [Odd, Mixed])
def test_twin_when_the_model_says_what_it_cannot_hold_to_then_unsupported(model: type[BaseModel]) -> None:
    with pytest.raises(TwinUnsupported):
        twin_of(model)
