"""Profit over HTTP: the fold of the ledger's rows, kept and carried on, is the fold of the whole ledger."""

from collections.abc import Sequence
from typing import Any

import pytest
from common.contracts.events import CASH, Book, EntryKind, LedgerEntry, Posting
from common.contracts.topics import RISK_LEDGER
from common.ledger.profit import ProfitFold
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders.database import Database
from orders.profits import AccountProfit, Profits
from orders.queries import Page, Queries
from orders.trouble import DatabaseAway, Trouble

from tests.orders.projected_log import Log

Trade = tuple[str, int, int]
"""Symbol, shares, negative where sold; price."""


def entry(seq: int, kind: EntryKind, symbol: str, qty: int, cash_e4: int, order_id: str | None = "A.1") -> LedgerEntry:
    other = Book.EXTERNAL if kind is EntryKind.FUND else Book.VENUE
    legs = [
        Posting(book=book, asset=asset, amount=sign * amount)
        for asset, amount in ((symbol, qty), (CASH, cash_e4))
        if amount
        for book, sign in ((Book.AVAILABLE, 1), (other, -1))
    ]
    return LedgerEntry(account_id="A", seq=seq, kind=kind, postings=tuple(legs), order_id=order_id, booked_ns=1)


def ledger(trades: Sequence[Trade], first: int = 1) -> list[LedgerEntry]:
    return [
        entry(first + at, EntryKind.POST, symbol, qty, -qty * price_e4)
        for at, (symbol, qty, price_e4) in enumerate(trades)
    ]


async def book(log: Log, entries: Sequence[LedgerEntry]) -> None:
    await log.project(log.records(RISK_LEDGER, *entries))


def facts(profit: AccountProfit) -> dict[str, tuple[int, ...]]:
    return {
        one.symbol: (one.qty, one.cost_fifo_e4, one.cost_average_e4, one.realised_fifo_e4, one.realised_average_e4)
        for one in profit.positions
    }


async def test_profit_by_both_ways_of_matching_and_what_is_sold_from_outside(log: Log, database: Database) -> None:
    await book(log, [entry(1, EntryKind.FUND, "MSFT", 5, 1_000_000, None)])
    await book(log, ledger([("AAPL", 10, 100), ("AAPL", 10, 200), ("AAPL", -10, 250), ("MSFT", -5, 40)], first=2))
    profit = await Profits(Queries(database)).account("A", 5)
    assert facts(profit) == {"AAPL": (10, 2_000, 1_500, 1_500, 1_000), "MSFT": (0, 0, 0, 200, 200)}
    assert (profit.seq, profit.realised_fifo_e4, profit.realised_average_e4) == (5, 1_700, 1_200)
    [aapl, msft] = profit.positions
    assert (aapl.bought_qty, aapl.sold_qty, msft.bought_qty, msft.sold_qty) == (20, 10, 0, 5)


async def test_profit_when_a_trade_is_taken_back_then_it_has_never_been(log: Log, database: Database) -> None:
    profits = Profits(Queries(database))
    await book(log, ledger([("AAPL", 10, 100), ("AAPL", -4, 150)]))
    assert facts(await profits.account("A", 2)) == {"AAPL": (6, 600, 600, 200, 200)}
    await book(log, [entry(3, EntryKind.BUST, "AAPL", 4, -4 * 150)])
    assert facts(await profits.account("A", 3)) == {"AAPL": (10, 1_000, 1_000, 0, 0)}


async def test_profit_of_an_account_without_entries_is_nothing(log: Log, database: Database) -> None:
    profit = await Profits(Queries(database)).account("nobody", 0)
    assert (profit.seq, profit.positions, profit.realised_average_e4) == (0, (), 0)


async def test_profit_when_more_waits_than_one_request_folds_then_it_goes_on_when_asked_again(
    log: Log, database: Database
) -> None:
    profits = Profits(Queries(database), folded_max=300)
    await book(log, ledger([("AAPL", 1, 100)] * 700))
    with pytest.raises(DatabaseAway, match="400 of 700 entries") as refused:
        await profits.account("A", 700)
    assert refused.value.trouble is Trouble.BEHIND
    assert facts(await profits.account("A", 700))["AAPL"][:2] == (700, 70_000)


async def test_profit_when_rows_are_missing_then_they_are_said_and_nothing_is_kept(
    log: Log, database: Database
) -> None:
    profits = Profits(Queries(database))
    await book(log, ledger([("AAPL", 1, 100)] * 3))
    await database.transaction(lambda connection: connection.execute("DELETE FROM ledger_entries WHERE seq = 2"))
    with pytest.raises(DatabaseAway) as refused:
        await profits.account("A", 3)
    assert refused.value.trouble is Trouble.ROW


async def test_profit_when_the_rows_are_made_anew_then_it_is_of_those(log: Log, database: Database) -> None:
    profits = Profits(Queries(database))
    await book(log, ledger([("AAPL", 1, 100)] * 3))
    await profits.account("A", 3)
    undone = "DELETE FROM ledger_entries WHERE seq > 1; UPDATE accounts SET ledger_seq = 1"
    await database.transaction(lambda connection: connection.execute(undone))
    assert facts(await profits.account("A", 1)) == {"AAPL": (1, 100, 100, 0, 0)}


async def test_profit_when_few_accounts_are_kept_then_others_are_folded_again(log: Log, database: Database) -> None:
    profits = Profits(Queries(database), accounts_max=1)
    await book(log, ledger([("AAPL", 2, 100)]))
    for account_id, seq, held in (("A", 1, 1), ("B", 0, 0), ("A", 1, 1)):
        assert len((await profits.account(account_id, seq)).positions) == held


TRADES = st.lists(
    st.tuples(st.sampled_from(["AAPL", "MSFT"]), st.integers(-50, 50).filter(bool), st.integers(1, 500)), max_size=30
)


class Rows(Queries):
    """The ledger's rows in memory, in pages as PostgreSQL gives them."""

    def __init__(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries = entries

    async def ledger(self, account_id: str, after: int, limit: int) -> Any:
        return Page(items=list(self.entries[after : after + min(limit, 7)]))

    async def ledger_seq(self, account_id: str) -> int:
        return len(self.entries)


@given(TRADES, st.lists(st.integers(0, 30), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_property_profit_carried_on_from_anywhere_is_that_of_the_whole_ledger(
    trades: list[Trade], stops: list[int]
) -> None:
    entries = ledger(trades)
    profits = Profits(Rows(entries))
    for stop in stops:
        await profits.account("A", min(stop, len(entries)))
    found = await profits.account("A", len(entries))
    fold = ProfitFold()
    for one in entries:
        fold.apply(one)
    whole = fold.accounts["A"].positions if entries else {}
    assert facts(found) == {
        symbol: (p.qty, p.first.cost_e4, p.average.cost_e4, p.first.realised_e4, p.average.realised_e4)
        for symbol, p in whole.items()
    }
