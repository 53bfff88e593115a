"""A day's positions, profit and loss: one row for each account and symbol, and one for each account."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from common.contracts.events import LedgerEntry
from common.ledger.profit import Account, Matched, Position, PriceOf, ProfitFold

NO_POSITION: Final = Position()
NO_ACCOUNT: Final = Account()


class PositionLine(NamedTuple):
    """One account in one symbol. Money in 1/10,000; realised is the day's, unrealised all that is open at its end."""

    day: str
    account_id: str
    symbol: str
    start_qty: int
    bought_qty: int
    sold_qty: int
    end_qty: int
    price_e4: int | None
    """Price at the end; None: nobody said one."""
    cost_fifo_e4: int
    cost_average_e4: int
    realised_fifo_e4: int
    realised_average_e4: int
    unrealised_fifo_e4: int | None
    unrealised_average_e4: int | None


class AccountLine(NamedTuple):
    """One account. ``profit_e4`` is the day's, realised and unrealised; it is the same by either way of matching."""

    day: str
    account_id: str
    start_cash_e4: int
    deposits_e4: int
    end_cash_e4: int
    end_worth_e4: int | None
    """Cash and what is held; None where something is held of which nobody said a price."""
    realised_fifo_e4: int
    realised_average_e4: int
    total_profit_e4: int | None
    """Since the account began: realised and unrealised."""


class Day(NamedTuple):
    """The fold before a day and after it."""

    name: str
    start: Mapping[str, Account]
    end: Mapping[str, Account]


class Unbalanced(ValueError):
    """Profit that is not cash and marked positions less what came from outside."""


def day_of(name: str, begin_ns: int, end_ns: int, entries: Iterable[LedgerEntry], basis: PriceOf) -> Day:
    """Folds the ledger up to the day, and through it. Raises ValueError where an account's entries have a gap."""
    start, end = ProfitFold(basis), ProfitFold(basis)
    for entry in entries:
        if entry.booked_ns < end_ns:
            end.apply(entry)
        if entry.booked_ns < begin_ns:
            start.apply(entry)
    return Day(name, start.accounts, end.accounts)


def position_lines(day: Day, prices: Mapping[str, int]) -> Iterator[PositionLine]:
    """Rows of what was held at the beginning or at the end, or traded in between."""
    for account_id, account in sorted(day.end.items()):
        before = day.start.get(account_id, NO_ACCOUNT).positions
        for symbol, position in sorted(account.positions.items()):
            line = _position_line(day.name, account_id, symbol, before.get(symbol, NO_POSITION), position, prices)
            if any((line.start_qty, line.bought_qty, line.sold_qty, line.end_qty)):
                yield line


def _position_line(
    day: str, account_id: str, symbol: str, start: Position, end: Position, prices: Mapping[str, int]
) -> PositionLine:
    price_e4 = prices.get(symbol)
    return PositionLine(
        day,
        account_id,
        symbol,
        start.qty,
        end.bought_qty - start.bought_qty,
        end.sold_qty - start.sold_qty,
        end.qty,
        price_e4,
        end.first.cost_e4,
        end.average.cost_e4,
        end.first.realised_e4 - start.first.realised_e4,
        end.average.realised_e4 - start.average.realised_e4,
        _unrealised_e4(end.first, price_e4),
        _unrealised_e4(end.average, price_e4),
    )


def _unrealised_e4(matched: Matched, price_e4: int | None) -> int | None:
    if not matched.qty:
        return 0
    return None if price_e4 is None else matched.unrealised_e4(price_e4)


def account_lines(day: Day, prices: Mapping[str, int]) -> Iterator[AccountLine]:
    """Raises Unbalanced where profit by one of the ways is not what the account is worth less what came in."""
    for account_id, account in sorted(day.end.items()):
        start = day.start.get(account_id, NO_ACCOUNT)
        held = {symbol: each for symbol, each in account.positions.items() if each.qty}
        worth_e4 = None
        if held.keys() <= prices.keys():
            worth_e4 = account.cash_e4 + sum(each.qty * prices[symbol] for symbol, each in held.items())
        profit_e4 = None if worth_e4 is None else worth_e4 - account.deposits_e4
        for way in ("first", "average"):
            _check(account_id, way, account, prices, profit_e4)
        yield AccountLine(
            day.name,
            account_id,
            start.cash_e4,
            account.deposits_e4 - start.deposits_e4,
            account.cash_e4,
            worth_e4,
            _realised(account, "first") - _realised(start, "first"),
            _realised(account, "average") - _realised(start, "average"),
            profit_e4,
        )


def _realised(account: Account, way: str) -> int:
    return sum(getattr(position, way).realised_e4 for position in account.positions.values())


def _check(account_id: str, way: str, account: Account, prices: Mapping[str, int], profit_e4: int | None) -> None:
    if profit_e4 is None:
        return
    open_e4 = sum(getattr(each, way).unrealised_e4(prices.get(name, 0)) for name, each in account.positions.items())
    if (found_e4 := _realised(account, way) + open_e4) != profit_e4:
        raise Unbalanced(f"{account_id}: profit is {found_e4}, and cash and positions less what came in {profit_e4}")


def write_csv(path: Path, lines: Iterable[Any], of: type[Any]) -> None:
    """A header and one row a line, empty where something is not known. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(of._fields)
        writer.writerows(["" if cell is None else cell for cell in line] for line in lines)


def read_prices(path: Path) -> dict[str, int]:
    """``symbol,price_e4`` with a header. Raises ValueError, with the line, for what is no such file, and OSError."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or not {"symbol", "price_e4"} <= set(rows.fieldnames):
            raise ValueError(f"{path}: the first line has to name symbol and price_e4")
        prices: dict[str, int] = {}
        for row in rows:
            try:
                prices[row["symbol"]] = int(row["price_e4"])
            except (TypeError, ValueError):
                raise ValueError(f"{path}, line {rows.line_num}: {row['price_e4']!r} is no price in 1/10,000") from None
            if prices[row["symbol"]] < 0:
                raise ValueError(f"{path}, line {rows.line_num}: a price is not less than nothing")
        return prices
