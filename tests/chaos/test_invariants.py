"""The watcher of a storm can fail: a sound history passes, and every kind of fault put into one is counted."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from common.contracts.events import (
    CASH,
    Book,
    Decision,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    OrderEvent,
    OrderIntent,
    OrderState,
    Posting,
)
from common.contracts.topics import (
    DEAD_LETTERS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_DECISIONS,
    RISK_LEDGER,
    Topic,
)
from common.contracts.values import OrderType, Side, TimeInForce, order_id_of
from streams.model.dead_letters import DeadLetter, letter_record
from streams.model.framing import Framing
from streams.model.message import Message
from tidemark.chaos.invariants import INTENTS_DEAD, Invariants

ACCOUNT = "acct-1"
ORDER = order_id_of(ACCOUNT, "c1")
CASH_E4 = 1_000
History = list[Message]


def message(topic: Topic, offset: int, body: Any, partition: int = 0) -> Message:
    return Message(topic, partition, offset, ACCOUNT.encode(), topic.schema.encode(body), 0)


def intent(client_order_id: str = "c1") -> OrderIntent:
    return OrderIntent(
        account_id=ACCOUNT,
        client_order_id=client_order_id,
        symbol="ACME",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        qty=10,
        limit_price_e4=100,
        sent_ns=1,
    )


def decision(intent_offset: int = 0) -> Decision:
    return Decision(
        account_id=ACCOUNT,
        client_order_id="c1",
        order_id=ORDER,
        accepted=True,
        intent=intent(),
        account_seq=2,
        decided_ns=2,
        intent_partition=0,
        intent_offset=intent_offset,
    )


def entry(seq: int, kind: EntryKind, *postings: tuple[Book, str, int], fill: str | None = None) -> LedgerEntry:
    legs = tuple(Posting(book=book, asset=asset, amount=amount) for book, asset, amount in postings)
    return LedgerEntry(
        account_id=ACCOUNT, seq=seq, kind=kind, postings=legs, order_id=ORDER, execution_id=fill, booked_ns=seq
    )


def fund(seq: int = 1, out_e4: int = CASH_E4) -> LedgerEntry:
    return entry(seq, EntryKind.FUND, (Book.EXTERNAL, CASH, -out_e4), (Book.AVAILABLE, CASH, CASH_E4))


def reserve(seq: int = 2, cash_e4: int = CASH_E4) -> LedgerEntry:
    return entry(seq, EntryKind.RESERVE, (Book.AVAILABLE, CASH, -cash_e4), (Book.RESERVED, CASH, cash_e4))


def post(seq: int = 3) -> LedgerEntry:
    cash = ((Book.RESERVED, CASH, -CASH_E4), (Book.VENUE, CASH, CASH_E4))
    return entry(seq, EntryKind.POST, *cash, (Book.VENUE, "ACME", -10), (Book.AVAILABLE, "ACME", 10), fill="x1")


def report() -> ExecutionReport:
    return ExecutionReport(
        execution_id="x1",
        exec_type=ExecType.TRADE,
        order_id=ORDER,
        account_id=ACCOUNT,
        symbol="ACME",
        side=Side.BUY,
        last_qty=10,
        last_price_e4=100,
        cum_qty=10,
        venue_ns=3,
    )


def event(revision: int, state: OrderState = OrderState.WORKING) -> OrderEvent:
    return OrderEvent(
        order_id=ORDER,
        account_id=ACCOUNT,
        client_order_id="c1",
        symbol="ACME",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        qty=10,
        state=state,
        revision=revision,
        sent_ns=1,
        updated_ns=revision,
    )


def sound() -> History:
    """One order from its intent to its fill."""
    return [
        message(RISK_LEDGER, 0, fund()),
        message(ORDERS_INTENTS, 0, intent()),
        message(RISK_DECISIONS, 0, decision()),
        message(RISK_LEDGER, 1, reserve()),
        message(ORDERS_EVENTS, 0, event(1, OrderState.ACCEPTED)),
        message(ORDERS_EXECUTIONS, 0, report()),
        message(RISK_LEDGER, 2, post()),
        message(ORDERS_EVENTS, 1, event(2, OrderState.FILLED)),
    ]


def watched(history: Sequence[Message]) -> Invariants:
    invariants = Invariants()
    for each in history:
        invariants.apply(each)
    return invariants


def test_history_when_sound_then_nothing_is_broken_at_any_record() -> None:
    invariants = Invariants()
    for each in sound():
        invariants.apply(each)
        assert invariants.count() == 0
    assert invariants.summary() == {"intents": 1, "duplicates": 0, "money_created_e4": 0, "sequence_gaps": 0}
    assert invariants.is_quiet()
    assert invariants.missing([ORDER]) == set()


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (message(RISK_DECISIONS, 1, decision()), "answered or reported twice"),
        (message(ORDERS_EXECUTIONS, 1, report()), "answered or reported twice"),
        (message(ORDERS_EVENTS, 2, event(2)), "answered or reported twice"),
        (message(ORDERS_EVENTS, 2, event(4)), "gap in an order's revisions"),
        (message(RISK_LEDGER, 3, fund(seq=5)), "gap in an account's sequence"),
        (message(RISK_LEDGER, 3, fund(seq=3)), "gap in an account's sequence"),
        (message(RISK_LEDGER, 3, fund(seq=4, out_e4=CASH_E4 - 1)), "entry that does not balance"),
        (message(RISK_LEDGER, 3, reserve(seq=4)), "account overdrawn"),
        (message(RISK_LEDGER, 3, post(seq=4)), "execution posted twice"),
        (Message(RISK_LEDGER, 0, 3, b"a", b"{}", 0), "unreadable record"),
    ],
)
def test_history_when_a_record_breaks_an_invariant_then_it_is_counted_at_once(fault: Message, broken: str) -> None:
    invariants = watched(sound())
    invariants.apply(fault)
    assert invariants.broken()[broken].count == 1


def test_money_when_an_entry_does_not_balance_then_the_difference_was_created() -> None:
    invariants = watched([message(RISK_LEDGER, 0, fund(out_e4=CASH_E4 - 7))])
    assert invariants.money_created_e4 == 7


def test_money_when_a_fill_is_posted_twice_then_its_cash_was_created() -> None:
    invariants = watched([*sound(), message(RISK_LEDGER, 3, post(seq=4))])
    assert invariants.money_created_e4 == CASH_E4
    assert invariants.ledger.ledger_sum_e4 == 0


def test_sequence_gaps_when_entry_and_revision_are_missing_then_both_count() -> None:
    history = [each for each in sound() if each.offset != 1]
    assert watched(history).sequence_gaps == 1
    assert watched([*history, message(ORDERS_EVENTS, 1, event(3))]).sequence_gaps == 2


@pytest.mark.parametrize(
    ("left_out", "lost"),
    [
        (RISK_DECISIONS, lambda i: [asked.order_id for asked in i.unanswered()]),
        (ORDERS_EVENTS, lambda i: list(i.without_event())),
        (ORDERS_INTENTS, lambda i: list(i.missing([ORDER]))),
    ],
)
def test_history_when_a_step_is_missing_then_the_order_is_lost(
    left_out: Topic, lost: Callable[[Invariants], list[str]]
) -> None:
    assert lost(watched(sound())) == []
    invariants = watched([each for each in sound() if each.topic is not left_out])
    assert lost(invariants) == [ORDER]


@pytest.mark.parametrize("framing", [DEAD_LETTERS.framing, None], ids=["avro", "text"])
def test_poison_when_set_aside_then_answered_and_when_set_aside_twice_then_counted(framing: Framing | None) -> None:
    poison = Message(ORDERS_INTENTS, 0, 9, b"a", b"not json", 0)
    letter = DeadLetter(
        stage="risk.gate", topic=ORDERS_INTENTS.name, partition=0, offset=9, error="", value=b"not json"
    )
    record = letter_record(letter, b"a", 0, (), framing)
    dead = [Message(INTENTS_DEAD, 0, offset, b"a", record.value, 0, record.headers) for offset in (0, 1)]
    assert not watched([poison]).is_quiet()
    invariants = watched([poison, dead[0]])
    assert invariants.is_quiet()
    assert invariants.count() == 0
    invariants.apply(dead[1])
    assert invariants.duplicates.count == 1
