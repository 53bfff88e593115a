"""Framed intents and framed answers, in bulk: the same as text, one by one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from common.avro.codec import AvroFraming
from common.contracts.events import OrderIntent
from common.contracts.topics import ORDERS_INTENTS, RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import INT64_MAX
from common.testing.orders import NOW_NS, intent
from hypothesis import given, settings
from hypothesis import strategies as st
from risk import stages
from risk.domain.intent_kernel import read_intents
from risk.framed import file_of, framing_of, intent_reader, read_either
from risk.framed_answers import FramedAnswers
from risk.stages import Gate
from risk.tables import DAY_NS
from risk.warm import warm
from streams.model.framing import frame, is_framed
from streams.testing.tables import Said, said_at_once, said_one_by_one

from tests.risk.test_runs import LIMITS, intents_of, plain, world

FRAMING = framing_of(ORDERS_INTENTS)
FRAMED = FramedAnswers()
FRAMINGS: dict[str, AvroFraming] = {topic.name: framing_of(topic) for topic in (RISK_DECISIONS, RISK_LEDGER)}
either = st.tuples(plain, st.booleans())


def value_of(order: OrderIntent) -> tuple[bytes, bytes]:
    """As the API writes it."""
    return order.account_id.encode(), ORDERS_INTENTS.schema.encode(order)


def values_of(orders: Sequence[tuple[OrderIntent, bool]], *, framed: bool) -> list[tuple[bytes, bytes]]:
    """Keys and values: of all as text, or framed where they are to be."""
    texts = [(value_of(order), framed and is_to_be) for order, is_to_be in orders]
    return [(key, FRAMING.framed(text) if is_to_be else text) for (key, text), is_to_be in texts]


def as_text(said: Said) -> Any:
    """The answers to a message as text, whatever their form."""
    return [
        (topic, partition, key, FRAMINGS[topic].text(value) if value and is_framed(value) else value)
        for topic, partition, key, value in said
    ]


def answered(gate: Gate, tables: Any, orders: Sequence[tuple[OrderIntent, bool]]) -> list[Said]:
    batch = intents_of(values_of(orders, framed=True))
    return list(said_at_once(gate.handle_batch, gate.handle, batch, tables, NOW_NS))


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RUN_MIN", 2)


@settings(deadline=None, max_examples=60)
@given(orders=st.lists(either, max_size=40), writes_framed=st.booleans())
def test_run_when_some_intents_are_framed_then_answered_as_text_one_by_one(
    orders: list[tuple[OrderIntent, bool]], writes_framed: bool
) -> None:
    one, one_tables = world()
    _, many_tables = world()
    many = Gate(LIMITS, 7 * DAY_NS, framed=FRAMED if writes_framed else None)
    batch = intents_of(values_of(orders, framed=False))
    expected = list(said_one_by_one(one.handle, batch, one_tables, NOW_NS))
    said = answered(many, many_tables, orders)
    assert list(map(as_text, said)) == expected
    assert many_tables.rows() == one_tables.rows()
    if writes_framed and len(orders) > 1:
        assert all(is_framed(value) for each in said for *_, value in each)


def test_answers_when_framed_then_fastavro_writes_the_same_bytes() -> None:
    gate, tables = Gate(LIMITS, 7 * DAY_NS, framed=FRAMED), world()[1]
    orders = [(intent(f"o{number}", "rich", qty=1 + number), bool(number % 2)) for number in range(8)]
    said = answered(gate, tables, orders)
    assert [len(each) for each in said] == [2] * 8
    for topic, _, _, value in (output for each in said for output in each):
        assert value is not None
        framing = FRAMINGS[topic]
        assert framing.framed(framing.text(value)) == value


@settings(deadline=None, max_examples=60)
@given(orders=st.lists(either, min_size=1, max_size=10))
def test_read_when_framed_then_the_same_as_of_the_text(orders: list[tuple[OrderIntent, bool]]) -> None:
    texts, values = values_of(orders, framed=False), values_of(orders, framed=True)
    keys = [key for key, _ in texts]
    found, expected = read_either([v for _, v in values], keys), read_intents([v for _, v in texts], keys)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.text.tobytes() == expected.text.tobytes()
    assert (found.symbols, found.row_keys) == (expected.symbols, expected.row_keys)


HOSTILE: dict[str, Any] = {
    "symbol": 'X","side":"S',
    "account_id": "rich\\",
    "client_order_id": "o\n1",
    "qty": -INT64_MAX - 1,
    "sent_ns": -1,
}


@pytest.mark.parametrize("field", HOSTILE)
def test_read_when_a_framed_intent_is_none_then_it_is_not_plain_and_is_refused_by_itself(field: str) -> None:
    good = intent("o1", "rich")
    hostile = good.model_copy(update={field: HOSTILE[field]})
    value = FRAMING.framed(value_of(hostile)[1])
    key = hostile.account_id.encode()
    found = read_either([value, value_of(good)[1]], [key, b"rich"])
    assert found.rows["plain"].tolist() == [False, True]
    assert list(found.values(slice(1, 2))) == [value_of(good)[1]]
    gate, tables = world()
    with pytest.raises(ValueError):
        gate.handle(intents_of([(key, value)])[0], tables, NOW_NS)


def test_read_when_a_value_is_damaged_or_of_another_schema_then_it_is_not_plain() -> None:
    key, text = value_of(intent("o1", "rich"))
    value = FRAMING.framed(text)
    other = frame(file_of(RISK_LEDGER).id, value[5:])
    values = [value, value[:-1], value + b"\0", other, b"\0", text]
    found = read_either(values, [key] * len(values))
    assert found.rows["plain"].tolist() == [True, False, False, False, False, True]
    assert read_either([value], [b"poor"]).rows["plain"].tolist() == [False]


def test_framed_intent_when_read_then_every_field_of_its_schema_is() -> None:
    names = {field["name"] for field in file_of(ORDERS_INTENTS).schema()["fields"]}
    assert names == set(OrderIntent.model_fields)
    assert intent_reader().row.names


def test_warm_when_answers_are_framed_then_no_run_compiles_anything() -> None:
    gate, tables = Gate(LIMITS, 7 * DAY_NS, framed=FRAMED), world()[1]
    warm(gate._gate, framed=True)
    kernels = (FRAMED._decisions._write, FRAMED._entries._write, intent_reader()._read_all)
    before = [len(kernel.signatures) for kernel in kernels]
    answered(gate, tables, [(intent(f"o{number}", "rich"), bool(number % 2)) for number in range(4)])
    assert [len(kernel.signatures) for kernel in kernels] == [max(1, count) for count in before]
    assert isinstance(FRAMED._decisions.row, np.dtype)
