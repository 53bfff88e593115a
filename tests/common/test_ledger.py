"""The fold of ledger entries, and what it refuses."""

import pytest
from common.contracts.events import CASH, Book, EntryKind, LedgerEntry, Posting
from common.ledger.balances import Balances, LedgerBroken, fold

AVAILABLE, RESERVED, EXTERNAL, VENUE = Book.AVAILABLE, Book.RESERVED, Book.EXTERNAL, Book.VENUE


def entry(
    seq: int, *postings: tuple[Book, str, int], kind: EntryKind = EntryKind.FUND, account_id: str = "a"
) -> LedgerEntry:
    legs = tuple(Posting(book=book, asset=asset, amount=amount) for book, asset, amount in postings)
    return LedgerEntry(account_id=account_id, seq=seq, kind=kind, postings=legs, booked_ns=0)


FUND = entry(1, (AVAILABLE, CASH, 100), (EXTERNAL, CASH, -100))
RESERVE = entry(2, (AVAILABLE, CASH, -60), (RESERVED, CASH, 60), kind=EntryKind.RESERVE)
POST = entry(
    3,
    (RESERVED, CASH, -60),
    (VENUE, CASH, 50),
    (AVAILABLE, CASH, 10),
    (AVAILABLE, "ACME", 5),
    (VENUE, "ACME", -5),
    kind=EntryKind.POST,
)


def test_entries_in_order_then_balances() -> None:
    balances = fold([FUND, RESERVE, POST])["a"]
    assert (balances.seq, balances.cash_e4, balances.reserved_cash_e4, balances.available(CASH)) == (3, 50, 0, 50)
    assert balances.positions() == {"ACME": (5, 0)}
    assert balances.sums() == {CASH: 0, "ACME": 0}


def test_a_stock_named_cash_is_not_cash() -> None:
    balances = fold([FUND, entry(2, (AVAILABLE, "CASH", 7), (EXTERNAL, "CASH", -7))])["a"]
    assert (balances.cash_e4, balances.positions()) == (100, {"CASH": (7, 0)})


def test_accounts_mixed_then_each_has_its_own_sequence() -> None:
    other = entry(1, (AVAILABLE, CASH, 1), (EXTERNAL, CASH, -1), account_id="b")
    balances = fold([FUND, other, RESERVE])
    assert (balances["a"].seq, balances["b"].seq) == (2, 1)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (entry(3, (AVAILABLE, CASH, 1), (EXTERNAL, CASH, -1)), "entry 3 after 1"),
        (FUND, "entry 1 after 1"),
        (entry(2, (AVAILABLE, CASH, 2), (EXTERNAL, CASH, -1)), "does not balance"),
        (entry(2, (AVAILABLE, CASH, 1), (EXTERNAL, "ACME", -1)), "does not balance"),
        (entry(2), "does not balance"),
        (entry(2, (AVAILABLE, CASH, -101), (EXTERNAL, CASH, 101)), "leaves -1"),
        (entry(2, (RESERVED, CASH, -1), (AVAILABLE, CASH, 1)), "leaves -1"),
        (entry(2, (AVAILABLE, CASH, 1), (EXTERNAL, CASH, -1), account_id="b"), "among those of a"),
    ],
)
def test_entry_that_cannot_follow_then_refused_and_nothing_changed(broken: LedgerEntry, why: str) -> None:
    balances = Balances("a")
    balances.apply(FUND)
    before = dict(balances.amounts)
    with pytest.raises(LedgerBroken, match=why):
        balances.apply(broken)
    assert (balances.seq, balances.amounts) == (1, before)
