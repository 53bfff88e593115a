"""The fast encoders against the models that are the truth: the same bytes for any value."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from common.contracts.events import (
    Book,
    Decision,
    EntryKind,
    LedgerEntry,
    MarkRead,
    OrderIntent,
    Posting,
    ReasonCode,
)
from common.contracts.market import MARK
from common.contracts.topics import ORDERS_INTENTS, RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import INT64_MAX, SYMBOL_PATTERN, OrderType, Side, TimeInForce
from hypothesis import example, given, settings
from hypothesis import strategies as st
from risk.domain.account import Mark
from risk.domain.chain import ChainRow, link
from risk.domain.intent import Intent
from risk.domain.ledger import Entry, Leg
from risk.market import CLOCK_FIELD, EVENT_FIELD, MARK_ROW
from risk.wire import DecisionTwin, MarkTwin, decode_intent, encode_decision, encode_entry, encode_mark
from streams.model.framing import SchemaUnknown, is_framed

ids = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)
symbols = st.from_regex(SYMBOL_PATTERN, fullmatch=True)
naturals = st.integers(0, INT64_MAX)
integers = st.integers(-INT64_MAX, INT64_MAX)
text = st.text(st.characters(codec="utf-8"))

intents = st.builds(
    OrderIntent,
    account_id=ids,
    client_order_id=ids,
    symbol=symbols,
    side=st.sampled_from(Side),
    order_type=st.sampled_from(OrderType),
    time_in_force=st.sampled_from(TimeInForce),
    qty=integers,
    limit_price_e4=st.none() | integers,
    sent_ns=naturals,
    min_qty=st.none() | integers,
    expire_ns=st.none() | naturals,
)
marks = st.builds(Mark, *([naturals] * 7))
answers = st.fixed_dictionaries(
    {
        "accepted": st.booleans(),
        "reason": st.none() | st.sampled_from(ReasonCode),
        "compared": st.dictionaries(st.from_regex(r"[a-z_0-9]{1,20}", fullmatch=True), integers, max_size=4),
        "conflict": st.none() | st.sampled_from(("qty", "symbol")),
        "repeat": st.booleans(),
        "instrument_id": st.none() | st.integers(0, 2**31 - 1),
        "reserved_cash_e4": naturals,
        "reserved_qty": naturals,
        "protection_price_e4": st.none() | naturals,
        "account_seq": naturals,
        "decided_ns": naturals,
        "intent_partition": st.integers(0, 100),
        "intent_offset": naturals,
    }
)


@given(intent=intents, mark=st.none() | marks, answer=answers)
def test_decision_twin_writes_what_the_model_writes(
    intent: OrderIntent, mark: Mark | None, answer: dict[str, Any]
) -> None:
    named: dict[str, Any] = {
        "account_id": intent.account_id,
        "client_order_id": intent.client_order_id,
        "order_id": f"{intent.account_id}.{intent.client_order_id}",
    }
    model = Decision(**named, **answer, intent=intent, mark=MarkRead(**mark._asdict()) if mark else None)
    twin = DecisionTwin(
        **named, **answer, intent=decode_intent(intent.model_dump_json().encode()), mark=encode_mark(mark)
    )
    assert encode_decision(twin) == RISK_DECISIONS.schema.encode(model)


def read_as_model(value: bytes) -> dict[str, Any] | None:
    try:
        fields: dict[str, Any] = ORDERS_INTENTS.schema.decode(value).model_dump()
        return fields
    except ValueError:
        return None


def read_as_twin(value: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.structs.asdict(decode_intent(value))
    except ValueError:
        return None


def jsons(value: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return value.map(lambda v: json.dumps(v).encode())


names = sorted(OrderIntent.model_fields)
near_ids = st.sampled_from(("", "a", "a" * 32, "a" * 33, "a" * 64, "a" * 65, "a\n", "\na", "a b", "ä", "\u212a", "a\0"))
near_symbols = st.sampled_from(("", "ACME", "A" * 16, "A" * 17, "BRK.B", "acme", "A\n", "-A", "A-", "A@", "@CASH", "Ä"))
edges = st.sampled_from((0, 1, -1, INT64_MAX, INT64_MAX + 1, -INT64_MAX, -INT64_MAX - 1, 2**64, 10**40))
numbers = jsons(edges | integers) | st.sampled_from(
    (
        b"1.0",
        b"1e2",
        b"1.5",
        b"-0",
        b"-0.0",
        b"01",
        b"+1",
        b"1e400",
        b"NaN",
        b"Infinity",
        b'"1"',
        b"true",
        b"null",
        b"{}",
    )
)
strange = st.sampled_from(
    (b"null", b"true", b"[]", b"{}", b'""', b"1", b'"\\ud800"', b'"\xff"', b'"\\u0041"', b"", b'"')
)
fields_of: dict[str, st.SearchStrategy[bytes]] = {
    "account_id": jsons(ids | near_ids),
    "client_order_id": jsons(ids | near_ids),
    "symbol": jsons(symbols | near_symbols),
    "side": jsons(st.sampled_from(("B", "S", "b", "BUY", ""))),
    "order_type": jsons(st.sampled_from(("LIMIT", "MARKET", "limit", ""))),
    "time_in_force": jsons(st.sampled_from(("DAY", "IOC", "FOK", "GTC", "GTD", "GTX", ""))),
    "qty": numbers,
    "limit_price_e4": numbers,
    "sent_ns": numbers,
    "min_qty": numbers,
    "expire_ns": numbers,
}


@st.composite
def nearly_intents(draw: st.DrawFn) -> bytes:
    """An intent, mostly with something about it that is not as it should be."""
    good = json.loads(draw(intents).model_dump_json(exclude_none=draw(st.booleans())))
    fields = [(name, json.dumps(value).encode()) for name, value in good.items()]
    again = draw(st.lists(st.sampled_from(names), max_size=2))  # of a field that is there twice the last counts
    fields += [(name, draw(fields_of[name] | strange)) for name in again]
    for name in draw(st.lists(st.sampled_from(names), max_size=1)):
        fields = [field for field in fields if field[0] != name]
    fields += draw(st.lists(st.tuples(st.sampled_from(("type", "Qty", "")), strange), max_size=1))
    body = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in draw(st.permutations(fields)))
    before, after = draw(
        st.sampled_from(((b"", b""), (b" ", b"\n"), (b"", b"x"), (b"", b"}"), (b"\xef\xbb\xbf", b""), (b"[", b"]")))
    )
    return before + b"{" + body + b"}" + after


@settings(max_examples=2_000)
@given(value=nearly_intents())
def test_intent_twin_reads_and_refuses_what_the_model_does(value: bytes) -> None:
    assert read_as_twin(value) == read_as_model(value)


@settings(max_examples=500)
@given(value=st.binary(max_size=40))
@example(value=b"\x00\x00\x00\x00\x01{}")
def test_bytes_that_are_no_intent_are_refused_by_both_unless_they_name_a_schema_to_wait_for(value: bytes) -> None:
    for read in (read_as_twin, read_as_model):
        try:
            assert read(value) is None
        except SchemaUnknown:
            assert is_framed(value)


@given(intent=intents)
def test_intent_twin_reads_and_writes_what_the_model_does(intent: OrderIntent) -> None:
    for value in (intent.model_dump_json().encode(), ORDERS_INTENTS.schema.encode(intent)):
        assert msgspec.json.encode(decode_intent(value)) == ORDERS_INTENTS.schema.encode(intent)


def test_intent_without_a_value_then_refused() -> None:
    with pytest.raises(ValueError, match="without a value"):
        decode_intent(None)


def test_intent_with_its_fields_in_any_order_then_written_in_the_models_order() -> None:
    twin = decode_intent(
        b'{"sent_ns":1,"qty":2,"order_type":"MARKET","side":"B","symbol":"ACME","client_order_id":"o","account_id":"a"}'
    )
    absent = {"limit_price_e4", "min_qty", "expire_ns"}
    expected = [name for name in OrderIntent.model_fields if name not in absent]
    assert list(json.loads(msgspec.json.encode(twin))) == expected
    assert Intent.__struct_fields__ == tuple(OrderIntent.model_fields)


def test_decision_twin_has_the_models_fields_in_their_order() -> None:
    assert ("type", *DecisionTwin.__struct_fields__) == tuple(Decision.model_fields)
    assert Mark._fields == MarkTwin.__struct_fields__ == tuple(MarkRead.model_fields)


@given(
    account_id=ids,
    seq=st.integers(1, INT64_MAX),
    kind=st.sampled_from(EntryKind),
    legs=st.lists(st.tuples(st.sampled_from(Book), text, integers), max_size=5),
    order=st.none() | st.tuples(ids, ids),
    command_id=st.none() | ids,
    execution_id=st.none() | text,
    booked_ns=naturals,
)
def test_entry_twin_writes_what_the_model_writes(
    account_id: str,
    seq: int,
    kind: EntryKind,
    legs: list[tuple[Book, str, int]],
    order: tuple[str, str] | None,
    command_id: str | None,
    execution_id: str | None,
    booked_ns: int,
) -> None:
    fields: dict[str, Any] = {
        "account_id": account_id,
        "seq": seq,
        "kind": kind,
        "order_id": ".".join(order) if order else None,
        "command_id": command_id,
        "execution_id": execution_id,
        "booked_ns": booked_ns,
    }
    model = LedgerEntry(postings=tuple(Posting(book=b, asset=a, amount=n) for b, a, n in legs), **fields)
    twin = Entry(postings=tuple(Leg(b, a, n) for b, a, n in legs), **fields)
    assert encode_entry(twin) == RISK_LEDGER.schema.encode(model)
    value, row = link(ChainRow(seq - 1, bytes(32)), encode_entry(twin))
    linked = model.model_copy(update={"chain_seq": seq, "chain": row.head.hex()})
    assert value == RISK_LEDGER.schema.encode(linked)
    assert RISK_LEDGER.schema.decode(value) == linked


def test_entry_twin_has_the_models_fields_in_their_order() -> None:
    assert (*Entry.__struct_fields__, "chain_seq", "chain") == tuple(LedgerEntry.model_fields)
    assert Leg.__struct_fields__ == tuple(Posting.model_fields)


def test_mark_row_is_laid_out_as_the_contract_says() -> None:
    assert MARK.itemsize == MARK_ROW.size
    row = np.zeros(1, MARK)
    names = [name for name in MARK.names or () if name not in ("symbol", "reserved")]
    for number, name in enumerate(names, 1):
        row[name] = number
    row["symbol"] = b"ACME"
    symbol, *numbers = MARK_ROW.unpack_from(row.tobytes())
    assert symbol.rstrip(b"\0") == b"ACME"
    assert numbers == list(range(1, len(names) + 1))
    assert ["symbol", *names][CLOCK_FIELD] == "ingest_ns"
    assert ["symbol", *names][EVENT_FIELD] == "event_ns"
