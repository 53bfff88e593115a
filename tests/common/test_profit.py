"""Profit and loss out of the ledger: against a second implementation, share by share, and the sum that must hold."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from common.contracts.events import CASH, Book, EntryKind, LedgerEntry, Posting
from common.contracts.values import E4
from common.ledger.profit import Position, ProfitFold
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OWN, VENUE, OUTSIDE = Book.AVAILABLE, Book.VENUE, Book.EXTERNAL
Trade = tuple[int, int]
"""Shares, negative where sold; price."""


class Ledger:
    """Writes entries of one account, numbered."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []

    def add(self, kind: EntryKind, order_id: str | None, other: Book, **amounts: int) -> None:
        postings = []
        for asset, amount in amounts.items():
            name = CASH if asset == "cash" else asset
            postings += [Posting(book=OWN, asset=name, amount=amount), Posting(book=other, asset=name, amount=-amount)]
        self.entries.append(
            LedgerEntry(
                account_id="a",
                seq=len(self.entries) + 1,
                kind=kind,
                postings=tuple(postings),
                order_id=order_id,
                booked_ns=1,
            )
        )

    def trade(self, qty: int, price_e4: int, order_id: str = "a.o", symbol: str = "ACME") -> None:
        self.add(EntryKind.POST, order_id, VENUE, cash=-qty * price_e4, **{symbol: qty})

    def bust(self, qty: int, price_e4: int, order_id: str = "a.o", symbol: str = "ACME") -> None:
        """Takes back a trade of so many shares."""
        self.add(EntryKind.BUST, order_id, VENUE, cash=qty * price_e4, **{symbol: -qty})

    def fund(self, cash_e4: int, **shares: int) -> None:
        self.add(EntryKind.FUND, None, OUTSIDE, cash=cash_e4, **shares)

    def reserve(self, cash_e4: int) -> None:
        legs = (Posting(book=OWN, asset=CASH, amount=-cash_e4), Posting(book=Book.RESERVED, asset=CASH, amount=cash_e4))
        self.entries.append(
            LedgerEntry(account_id="a", seq=len(self.entries) + 1, kind=EntryKind.RESERVE, postings=legs, booked_ns=1)
        )


def folded(entries: Iterable[LedgerEntry], price_e4: int = 0) -> Any:
    fold = ProfitFold(lambda _account_id, _symbol: price_e4)
    for entry in entries:
        fold.apply(entry)
    return fold.accounts["a"]


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def share_by_share(trades: Iterable[Trade]) -> tuple[int, list[int]]:
    """Realised, and the prices of what is open, of a queue of single shares; short ones have prices below zero."""
    queue: list[tuple[int, int]] = []
    realised = 0
    for qty, price in trades:
        sign = 1 if qty > 0 else -1
        for _ in range(abs(qty)):
            if queue and queue[0][0] != sign:
                _, opened = queue.pop(0)
                realised += sign * (opened - price)
            else:
                queue.append((sign, price))
    return realised, [sign * price for sign, price in queue]


def by_average(trades: Iterable[Trade]) -> Fraction:
    """Profit realised at the average cost, without rounding."""
    held, average, realised = 0, Fraction(0), Fraction(0)
    for qty, price in trades:
        if held and (held > 0) != (qty > 0):
            closed = min(abs(held), abs(qty))
            realised += closed * (price - average) * (1 if held > 0 else -1)
        same = held == 0 or (held > 0) == (qty > 0)
        if same:
            average = (abs(held) * average + abs(qty) * price) / (abs(held) + abs(qty))
        elif abs(qty) > abs(held):
            average = Fraction(price)
        held += qty
    return realised


quantities = st.integers(1, 30) | st.integers(-30, -1)
trades_of = st.lists(st.tuples(quantities, st.integers(1, 10**7)), max_size=30)


@patient
@given(trades=trades_of, price_e4=st.integers(1, 10**7))
def test_trades_then_first_in_first_out_is_as_share_by_share_and_average_as_in_fractions(
    trades: list[Trade], price_e4: int
) -> None:
    book = Ledger()
    for qty, each_e4 in trades:
        book.trade(qty, each_e4)
    account = folded(book.entries) if trades else None
    position = account.positions["ACME"] if account else Position()
    realised, open_prices = share_by_share(trades)
    assert position.first.realised_e4 == realised
    assert position.qty == sum(qty for qty, _ in trades)
    assert position.first.cost_e4 == sum(open_prices)
    assert abs(position.average.realised_e4 - by_average(trades)) <= len(trades)
    for matched in (position.first, position.average):
        cash_e4 = sum(-qty * each_e4 for qty, each_e4 in trades)
        assert matched.realised_e4 + matched.unrealised_e4(price_e4) == cash_e4 + position.qty * price_e4
    assert (position.bought_qty, position.sold_qty) == (
        sum(qty for qty, _ in trades if qty > 0),
        -sum(qty for qty, _ in trades if qty < 0),
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.sampled_from(("ACME", "CEFI")), quantities, st.integers(1, 10**7)),
        st.tuples(st.just("bust"), st.integers(0, 30)),
        st.tuples(st.just("fund"), st.integers(-(10**9), 10**9), st.integers(0, 50)),
        st.tuples(st.just("reserve"), st.integers(1, 10**6)),
    ),
    max_size=40,
)


@patient
@given(some=steps, basis_e4=st.integers(0, 10**7), prices=st.tuples(st.integers(1, 10**7), st.integers(1, 10**7)))
def test_any_ledger_then_profit_is_cash_and_marked_positions_without_what_came_from_outside(
    some: list[Any], basis_e4: int, prices: tuple[int, int]
) -> None:
    book, traded = Ledger(), []
    book.fund(1)
    for number, step in enumerate(some):
        if step[0] == "trade":
            traded.append((step[2], step[3], f"a.o{number}", step[1]))
            book.trade(*traded[-1])
        elif step[0] == "bust" and step[1] < len(traded):
            book.bust(*traded.pop(step[1]))
        elif step[0] == "fund":
            book.fund(step[1], ACME=step[2])
        elif step[0] == "reserve":
            book.reserve(step[1])
    account = folded(book.entries, basis_e4)
    at = dict(zip(("ACME", "CEFI"), prices, strict=True))
    marked = sum(position.qty * at[symbol] for symbol, position in account.positions.items())
    for way in ("first", "average"):
        matched = {symbol: getattr(position, way) for symbol, position in account.positions.items()}
        profit = sum(each.realised_e4 + each.unrealised_e4(at[symbol]) for symbol, each in matched.items())
        assert profit == account.cash_e4 + marked - account.deposits_e4


@patient
@given(before=trades_of, busted=st.tuples(quantities, st.integers(1, 10**7)), after=trades_of)
def test_trade_that_is_taken_back_then_everything_is_as_though_it_had_never_been(
    before: list[Trade], busted: Trade, after: list[Trade]
) -> None:
    with_it, without = Ledger(), Ledger()
    without.fund(1)
    with_it.fund(1)
    for qty, price_e4 in before:
        with_it.trade(qty, price_e4)
        without.trade(qty, price_e4)
    with_it.trade(*busted, "a.busted")
    for qty, price_e4 in after:
        with_it.trade(qty, price_e4)
        without.trade(qty, price_e4)
    with_it.bust(*busted, "a.busted")
    found, wanted = folded(with_it.entries).positions["ACME"], folded(without.entries).positions.get("ACME", Position())
    assert (found.first, found.average, found.qty) == (wanted.first, wanted.average, wanted.qty)


def test_round_trip_then_realised_and_nothing_open() -> None:
    book = Ledger()
    book.fund(10_000 * E4)
    book.trade(10, 100 * E4)
    book.trade(10, 110 * E4)
    book.trade(-15, 120 * E4)
    position = folded(book.entries).positions["ACME"]
    assert position.first.realised_e4 == (10 * 20 + 5 * 10) * E4
    assert position.average.realised_e4 == 15 * 15 * E4
    assert (position.first.cost_e4, position.average.cost_e4) == (5 * 110 * E4, 5 * 105 * E4)


def test_entry_that_does_not_follow_then_refused() -> None:
    book = Ledger()
    book.fund(1)
    book.fund(1)
    with pytest.raises(ValueError, match="entry 2 follows 0"):
        folded(book.entries[1:])
