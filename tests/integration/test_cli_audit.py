"""The audit must find what is wrong: a sound ledger passes, and every single fault put into one is reported."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from common.contracts.events import (
    CASH,
    Book,
    Decision,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    OrderIntent,
    Posting,
)
from common.contracts.values import OrderType, Side
from hypothesis import given
from hypothesis import strategies as st
from tidemark.audit.checks import answers, balances, fills, lagging, ledger_itself, same_rows, violations
from tidemark.audit.fold import Balance, LedgerFold, Posted


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


def folded(entries: Sequence[LedgerEntry], wanted: dict[str, set[int]] | None = None) -> LedgerFold:
    fold = LedgerFold(wanted or {})
    for each in entries:
        fold.apply(each)
    return fold


@given(st.integers(min_value=0, max_value=10**6))
def test_ledger_when_sound_then_nothing_is_found(seed: int) -> None:
    fold = folded(sound(seed))
    assert violations(ledger_itself(fold)) == 0
    assert fold.ledger_sum_e4 == 0
    assert violations([balances("copy", {a: s.balance() for a, s in fold.accounts.items()}, fold)]) == 0


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


def test_balances_when_copy_is_older_then_it_is_compared_where_it_stands() -> None:
    entries = bought("a", 1, 1_000, 10)
    copy = Balance(2, {}, {CASH: 1_000})
    fold = folded(entries, wanted={"a": {2}})
    assert balances("copy", {"a": copy}, fold).is_sound
    assert lagging({"a": copy}, fold) == ["a: copy stands at entry 2 of 3"]
    wrong = balances("copy", {"a": replace(copy, reserved={CASH: 999})}, fold)
    assert wrong.findings.examples == ["a after entry 2: reserved @CASH is 999, the ledger says 1000"]


def test_balances_when_copy_is_ahead_or_missing_then_found() -> None:
    fold = folded([*bought("a", 1, 1_000, 10), *bought("b", 1, 1_000, 10)])
    found = balances("copy", {"a": Balance(4, {}, {})}, fold).findings.examples
    assert found == [
        "a: copy stands at entry 4, the committed ledger ends at 3",
        "b: in the ledger, but not in the copy",
    ]


def decision(offset: int, number: int) -> Decision:
    intent = OrderIntent(
        account_id="a",
        client_order_id=f"c{number}",
        symbol="AAPL",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        qty=1,
        sent_ns=1,
    )
    return Decision(
        account_id="a",
        client_order_id=f"c{number}",
        order_id=f"a.c{number}",
        accepted=True,
        intent=intent,
        account_seq=1,
        decided_ns=1,
        intent_partition=0,
        intent_offset=offset,
    )


@pytest.mark.parametrize(
    ("offsets", "dead", "expected"),
    [
        ([0, 1, 2], set[tuple[int, int]](), []),
        ([0, 1], {(0, 2)}, []),
        ([0, 1], set[tuple[int, int]](), ["intent (0, 2) of a.c2 has 0 answers"]),
        ([0, 1, 2, 1], set[tuple[int, int]](), ["intent (0, 1) of a.c1 has 2 answers"]),
        ([0, 1, 2], {(0, 2)}, ["intent (0, 2) of a.c2 has 2 answers"]),
    ],
)
def test_answers_when_counted_by_place_then_exactly_one(
    offsets: list[int], dead: set[tuple[int, int]], expected: list[str]
) -> None:
    intents = {(0, n): ("a", f"c{n}") for n in range(3)}
    assert answers(intents, [decision(o, o) for o in offsets], dead).findings.examples == expected


def test_answers_when_another_order_is_named_then_found() -> None:
    found = answers({(0, 0): ("a", "c0")}, [decision(0, 5)], set()).findings.examples
    assert found == ["intent (0, 0) of a.c0 was answered as a.c5"]


def trade(execution_id: str, qty: int = 10, price_e4: int = 100) -> ExecutionReport:
    return ExecutionReport(
        execution_id=execution_id,
        exec_type=ExecType.TRADE,
        order_id="a.o1",
        account_id="a",
        symbol="AAPL",
        side=Side.BUY,
        last_qty=qty,
        last_price_e4=price_e4,
        venue_ns=1,
    )


def test_fills_when_posting_differs_is_missing_or_invented_then_found() -> None:
    posted = {
        "same": Posted("a", "a.o1", -1_000, 10),
        "less": Posted("a", "a.o1", -999, 10),
        "invented": Posted("a", "a.o1", -1_000, 10),
    }
    found = fills([trade("same"), trade("less"), trade("lost"), trade("new")], posted, {"new"}).findings.examples
    assert found == [
        "less: traded 10 shares for -1000 e4 on a.o1, posted 10 for -999 on a.o1",
        "lost of a.o1 is not in the ledger",
        "invented is in the ledger, but the venue never said it",
    ]


def test_rows_when_copy_keeps_only_the_newest_then_only_required_ones_must_be_there() -> None:
    truth = {"open": {"qty": 1}, "closed": {"qty": 2}, "shown": {"qty": 3}}
    copies = {"shown": {"qty": 4, "more": 0}, "ghost": {"qty": 0}}
    found = same_rows("orders", copies, truth, lambda key: key == "open").findings.examples
    assert found == ["open: missing", "shown: qty is 4, the log says 3", "ghost: not in the log"]
