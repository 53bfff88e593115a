"""The audit must find what is wrong: a sound ledger passes, and every single fault put into one is reported."""

import random
from collections.abc import Sequence

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
from common.contracts.topics import ORDERS_EXECUTIONS, ORDERS_INTENTS, RISK_DECISIONS
from common.contracts.values import OrderType, Side, TimeInForce
from common.ledger.fold import Balance, LedgerFold
from common.ledger.rows import OrderFold, order_row
from common.testing.tables import message
from hypothesis import given
from hypothesis import strategies as st
from tidemark.audit.checks import Answers, Comparison, CopyCheck, ledger_itself, violations
from tidemark.audit.run import Folds


def entry(account: str, seq: int, kind: EntryKind, *postings: tuple[Book, str, int], fill: str = "") -> LedgerEntry:
    return LedgerEntry(
        account_id=account,
        seq=seq,
        kind=kind,
        postings=tuple(Posting(book=book, asset=asset, amount=amount) for book, asset, amount in postings),
        order_id=f"{account}.o1",
        execution_id=fill or None,
        booked_ns=seq,
    )


def bought(account: str, seq: int, cash_e4: int, shares: int) -> list[LedgerEntry]:
    """Fund, reserve, post: the life of one filled buy order."""
    return [
        entry(account, seq, EntryKind.FUND, (Book.EXTERNAL, CASH, -cash_e4), (Book.AVAILABLE, CASH, cash_e4)),
        entry(account, seq + 1, EntryKind.RESERVE, (Book.AVAILABLE, CASH, -cash_e4), (Book.RESERVED, CASH, cash_e4)),
        entry(
            account,
            seq + 2,
            EntryKind.POST,
            (Book.RESERVED, CASH, -cash_e4),
            (Book.VENUE, CASH, cash_e4),
            (Book.VENUE, "AAPL", -shares),
            (Book.AVAILABLE, "AAPL", shares),
            fill=f"{account}-{seq}",
        ),
    ]


def sound(seed: int, accounts: int = 5, trades: int = 4) -> list[LedgerEntry]:
    chance = random.Random(seed)
    per_account = [
        [e for t in range(trades) for e in bought(f"a{n}", 3 * t + 1, chance.randint(1, 10**9), chance.randint(1, 99))]
        for n in range(accounts)
    ]
    merged: list[LedgerEntry] = []
    while any(per_account):
        merged.append(chance.choice([queue for queue in per_account if queue]).pop(0))
    return merged


def folded(entries: Sequence[LedgerEntry], fold: LedgerFold | None = None) -> LedgerFold:
    fold = fold or LedgerFold()
    for each in entries:
        fold.apply(each)
    return fold


def versioned(*balances: tuple[str, Balance]) -> dict[str, tuple[int, Balance]]:
    return {account: (balance.seq, balance) for account, balance in balances}


@given(st.integers(min_value=0, max_value=10**6))
def test_ledger_when_sound_then_nothing_is_found(seed: int) -> None:
    fold = folded(sound(seed))
    assert violations(ledger_itself(fold)) == 0
    assert fold.ledger_sum_e4 == 0
    check = CopyCheck("copy", fold)
    check.compare(versioned(*((name, account.balance()) for name, account in fold.accounts.items())))
    assert check.is_settled
    assert check.result() == Comparison("copy", 5)


@given(st.integers(min_value=0, max_value=10**6), st.sampled_from(["lost", "doubled", "changed"]))
def test_ledger_when_one_entry_is_lost_doubled_or_changed_then_it_is_found(seed: int, fault: str) -> None:
    entries = sound(seed)
    at = random.Random(seed).randrange(len(entries) - 5)
    victim = entries[at]
    if fault == "lost":
        del entries[at]
        # The last entry of an account leaves no gap behind; the copies show it then.
        if not any(later.account_id == victim.account_id for later in entries[at:]):
            return
    elif fault == "doubled":
        entries.insert(at, victim)
    else:
        first = victim.postings[0]
        changed = (first.model_copy(update={"amount": first.amount + 1}), *victim.postings[1:])
        entries[at] = victim.model_copy(update={"postings": changed})
    assert violations(ledger_itself(folded(entries))) > 0


def test_ledger_when_more_is_reserved_than_there_is_then_overdrawn() -> None:
    fold = folded(
        [
            entry("a", 1, EntryKind.FUND, (Book.EXTERNAL, CASH, -5), (Book.AVAILABLE, CASH, 5)),
            entry("a", 2, EntryKind.RESERVE, (Book.AVAILABLE, CASH, -6), (Book.RESERVED, CASH, 6)),
        ]
    )
    assert fold.overdrawn.examples == ["a entry 2: AVAILABLE @CASH falls to -1"]


def test_copy_when_it_moves_on_between_rounds_then_it_is_right_where_it_stands_and_reaches_the_end() -> None:
    entries = bought("a", 1, 1_000, 10)
    fold = LedgerFold()
    check = CopyCheck("copy", fold)
    early = versioned(("a", Balance(2, {}, {CASH: 1_000})))
    check.note(early)
    folded(entries, fold)
    check.compare(early)
    assert not check.is_settled
    assert check.result().findings.examples == ["a: stands at 2, the log at 3"]
    later = versioned(("a", Balance(3, {"AAPL": 10}, {})))
    check.note(later)
    check.compare(later)
    assert check.is_settled
    assert check.result() == Comparison("copy", 1)


def test_copy_when_it_is_ahead_of_what_was_read_then_the_log_is_read_on_to_its_very_version() -> None:
    entries = bought("a", 1, 1_000, 10)
    fold = folded(entries[:1])
    check = CopyCheck("copy", fold)
    ahead = versioned(("a", Balance(2, {}, {CASH: 1_000})))
    check.note(ahead)
    check.compare(ahead)
    assert check.result().findings.examples == ["a: stands at 2, the log at 1"]
    check.note(ahead)
    folded(entries[1:], fold)
    check.compare(ahead)
    assert check.is_settled
    assert check.result().is_sound


def test_copy_when_wrong_at_its_version_then_found_even_if_it_gets_right_later() -> None:
    fold = LedgerFold()
    check = CopyCheck("copy", fold)
    wrong = versioned(("a", Balance(2, {}, {CASH: 999})))
    check.note(wrong)
    folded(bought("a", 1, 1_000, 10), fold)
    check.compare(wrong)
    check.compare(versioned(("a", Balance(3, {"AAPL": 10}, {}))))
    assert check.result().findings.examples == ["a at 2: reserved @CASH is 999, the ledger says 1000"]


def test_copy_when_a_row_is_missing_or_invented_then_found() -> None:
    check = CopyCheck("copy", folded(bought("b", 1, 1_000, 10)))
    check.compare(versioned(("ghost", Balance(1, {CASH: 1}, {}))))
    assert check.result().findings.examples == ["b: missing", "ghost: stands at 1, the log at 0"]


def test_orders_when_a_view_keeps_only_the_newest_then_only_open_ones_must_be_there() -> None:
    fold = OrderFold()
    for state, order_id in ((OrderState.WORKING, "a.1"), (OrderState.FILLED, "a.2"), (OrderState.FILLED, "a.3")):
        fold.apply(event(order_id, state))
    check = CopyCheck("orders", fold, required=lambda order_id: not fold.has_ended(order_id))
    check.compare({"a.3": (1, order_row(event("a.3", OrderState.CANCELED)))})
    assert check.result().findings.examples == ["a.3 at 1: state is 'CANCELED', the log says 'FILLED'", "a.1: missing"]


def event(order_id: str, state: OrderState, revision: int = 1) -> OrderEvent:
    return OrderEvent(
        order_id=order_id,
        account_id="a",
        client_order_id=order_id.partition(".")[2],
        symbol="AAPL",
        instrument_id=1,
        side=Side.BUY,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.IOC,
        qty=10,
        limit_price_e4=None,
        state=state,
        revision=revision,
        sent_ns=1,
        updated_ns=1,
    )


@pytest.mark.parametrize(
    ("offsets", "dead", "expected"),
    [
        ([0, 1, 2], [], []),
        ([0, 1], [2], []),
        ([0, 1], [], ["a.c2 at (0, 2) has 0 answers"]),
        ([0, 1, 2, 1], [], ["a.c1 at (0, 1) has 2 answers"]),
        ([0, 1, 2], [2], ["a.c2 at (0, 2) has 2 answers"]),
    ],
)
@pytest.mark.parametrize("asked_first", [True, False])
def test_answers_when_counted_by_place_then_exactly_one(
    offsets: list[int], dead: list[int], expected: list[str], asked_first: bool
) -> None:
    book = Answers("intents")

    def ask() -> None:
        for number in range(3):
            book.ask((0, number), f"a.c{number}")

    if asked_first:
        ask()
    for offset in offsets:
        book.answer((0, offset), f"a.c{offset}")
    for offset in dead:
        book.dead((0, offset))
    if not asked_first:
        ask()
    assert book.result().findings.examples == expected
    assert book.unanswered() == ({(0, 2)} if expected and "0 answers" in expected[0] else set())


@pytest.mark.parametrize("asked_first", [True, False])
def test_answers_when_another_order_is_named_then_found(asked_first: bool) -> None:
    book = Answers("intents")
    if asked_first:
        book.ask((0, 0), "a.c0")
    book.answer((0, 0), "a.c5")
    if not asked_first:
        book.ask((0, 0), "a.c0")
    assert book.result().findings.examples == ["(0, 0) asked for a.c0, answered was a.c5"]


@pytest.mark.parametrize("required", [True, False])
def test_answers_when_asked_after_the_audit_began_then_an_answer_is_not_missed_but_two_are_too_many(
    required: bool,
) -> None:
    book = Answers("intents")
    book.ask((0, 0), "a.c0")
    book.answer((0, 0), "a.c0")
    if required:
        book.require()
    for number in (1, 2):
        book.ask((0, number), f"a.c{number}")
    assert book.unanswered() == (set() if required else {(0, 1), (0, 2)})
    for _ in range(2):
        book.answer((0, 2), "a.c2")
    examples = book.result().findings.examples
    assert examples == [*([] if required else ["a.c1 at (0, 1) has 0 answers"]), "a.c2 at (0, 2) has 2 answers"]


def test_audit_when_a_fill_never_settles_then_the_intents_under_way_at_its_end_are_not_counted_as_unanswered() -> None:
    """The last reading always ends between some intent and its decision; what had to be answered is older than that."""
    folds = Folds()
    decision = accepted(0)
    for topic, body in ((ORDERS_INTENTS, decision.intent), (RISK_DECISIONS, decision)):
        folds.apply(message(topic, b"a", body, offset=0))
    fill = ExecutionReport(
        execution_id="x",
        exec_type=ExecType.TRADE,
        order_id="a.o1",
        account_id="a",
        symbol="AAPL",
        side=Side.BUY,
        last_qty=1,
        last_price_e4=5,
        venue_ns=1,
    )
    folds.apply(message(ORDERS_EXECUTIONS, b"a", fill, offset=0))
    folds.require()
    assert not folds.is_settled()
    folds.apply(message(ORDERS_INTENTS, b"a", accepted(1).intent, offset=1))
    assert folds.intents.result() == Comparison("every intent answered exactly once", 2)
    assert folds.fills.result().findings.examples == ["x of a.o1 is not in the ledger"]


def accepted(offset: int) -> Decision:
    intent = OrderIntent(
        account_id="a",
        client_order_id=f"c{offset}",
        symbol="AAPL",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        qty=1,
        sent_ns=1,
    )
    return Decision(
        account_id="a",
        client_order_id=f"c{offset}",
        order_id=f"a.c{offset}",
        accepted=True,
        intent=intent,
        account_seq=1,
        decided_ns=1,
        intent_partition=0,
        intent_offset=offset,
    )
