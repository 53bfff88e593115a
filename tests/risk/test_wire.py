"""The fast encoders against the models that are the truth: the same bytes for any value."""

from typing import Any

import numpy as np
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
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import INT64_MAX, OrderType, Side, TimeInForce
from hypothesis import given
from hypothesis import strategies as st
from risk.domain.account import Mark
from risk.domain.chain import ChainRow, link
from risk.domain.ledger import Entry, Leg
from risk.market import CLOCK_FIELD, MARK_ROW
from risk.wire import DecisionTwin, encode_decision, encode_entry, intent_fields, mark_twin

ids = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)
symbols = st.from_regex(r"[A-Z0-9][A-Z0-9.+=^#*/$!~%-]{0,15}", fullmatch=True)
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
    read = OrderIntent.model_validate_json(intent.model_dump_json())
    named: dict[str, Any] = {
        "account_id": intent.account_id,
        "client_order_id": intent.client_order_id,
        "order_id": f"{intent.account_id}.{intent.client_order_id}",
    }
    model = Decision(**named, **answer, intent=intent, mark=MarkRead(**mark._asdict()) if mark else None)
    twin = DecisionTwin(**named, **answer, intent=intent_fields(read), mark=mark_twin(mark))
    assert encode_decision(twin) == RISK_DECISIONS.schema.encode(model)


def test_intent_with_its_fields_in_any_order_then_written_in_the_models_order() -> None:
    intent = OrderIntent.model_validate_json(
        b'{"sent_ns":1,"qty":2,"order_type":"MARKET","side":"B","symbol":"ACME","client_order_id":"o","account_id":"a"}'
    )
    assert list(intent_fields(intent)) == [name for name in OrderIntent.model_fields if name != "limit_price_e4"]


def test_decision_twin_has_the_models_fields_in_their_order() -> None:
    assert ("type", *DecisionTwin.__struct_fields__) == tuple(Decision.model_fields)
    assert Mark._fields == tuple(MarkRead.model_fields)


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
