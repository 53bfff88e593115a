"""Memory of an account's open orders beside their reservations: their prices, and what may come in.

The prices of open BUY orders stand in the account's row, those of open SELL orders in the position's, so that the two
rows which an order changes anyway carry them. ``pending_cash_e4`` of the account is what its open SELL orders bring at
most. All of it is the fold of the open order rows.

Prices are levels, the best first (the highest BUY, the lowest SELL), each with the number of orders that it counts. At
most LEVELS_MAX are kept: the two worst are then one, at the better of their prices. A level is therefore never worse
than an order that it counts, and the best price never worse than that of any open order: where an account has more
levels than are kept, an order may be held to cross one that is not there any more, and never the other way round.

Behind the levels of BUY orders stands how many shares of them are open (``TOTAL_RANK``), for the limits on positions.
Shares that are open for a SELL are those that the position has reserved. Orders that an older version accepted have no
total, and neither have orders that come to them: their shares are not known until none of them is open.
"""

from bisect import bisect_left
from collections.abc import Mapping
from struct import Struct, unpack
from typing import Final

from common.checks.prices import UNKNOWN_QTY, proceeds_max_e4
from common.contracts.values import INT64_MAX, Side

from risk.domain.account import AccountRow, OrderRow, PositionRow

LEVEL: Final = Struct("<qq")
"""Rank of the price and number of orders; ``gate_kernel.LEVEL``. The rank rises from the best price to the worst: it is
the price of a SELL, and the price of a BUY less than nothing."""
LEVELS_MAX: Final = 32
TOTAL_RANK: Final = INT64_MAX
"""In place of a rank: what follows is no level, but the open shares of the orders at all of them. No price has it."""
_BUY: Final = Side.BUY
_LEVEL_BYTES: Final = LEVEL.size
_FULL: Final = LEVELS_MAX * LEVEL.size


# --- prices -------------------------------------------------------------------------------------------------------


def rank_e4(price_e4: int, side: Side) -> int:
    """See ``LEVEL``."""
    return -price_e4 if side is _BUY else price_e4


def best_e4(levels: bytes) -> int:
    """The price that the other side would meet first; 0 where no order is open."""
    return abs(LEVEL.unpack_from(levels)[0]) if levels else 0


def with_price(levels: bytes, price_e4: int, side: Side) -> bytes:
    """The levels after one more order has opened at ``price_e4``."""
    rank = rank_e4(price_e4, side)
    if not levels:
        return LEVEL.pack(rank, 1)
    at, orders = _find(levels, rank)
    if orders:
        return levels[:at] + LEVEL.pack(rank, orders + 1) + levels[at + _LEVEL_BYTES :]
    after = levels[:at] + LEVEL.pack(rank, 1) + levels[at:]
    if len(after) <= _FULL:
        return after
    better, orders, _, others = unpack("<4q", after[-2 * _LEVEL_BYTES :])
    return after[: -2 * _LEVEL_BYTES] + LEVEL.pack(better, orders + others)


def without_price(levels: bytes, price_e4: int, side: Side) -> bytes:
    """The levels after an order at ``price_e4`` has ended: it leaves the nearest one that is not worse.

    Which of several levels counted it does not matter: exchanged for an order of the nearest one, each order still
    stands at a level that is not worse than its price.
    """
    at, orders = _find(levels, rank_e4(price_e4, side))
    if not orders:
        at -= _LEVEL_BYTES
    assert at >= 0, f"no level counts the open {side} order at {price_e4}"
    rank, orders = LEVEL.unpack_from(levels, at)
    rest = LEVEL.pack(rank, orders - 1) if orders > 1 else b""
    return levels[:at] + rest + levels[at + _LEVEL_BYTES :]


def _find(levels: bytes, rank: int) -> tuple[int, int]:
    """Place in the bytes where the level of this rank is or would be, and its number of orders."""
    numbers = unpack(f"<{len(levels) // 8}q", levels)
    at = bisect_left(numbers[::2], rank)
    there = 2 * at < len(numbers) and numbers[2 * at] == rank
    return at * _LEVEL_BYTES, numbers[2 * at + 1] if there else 0


# --- shares that are open for a BUY -------------------------------------------------------------------------------


def without_total(levels: bytes) -> bytes:
    """The levels alone."""
    return levels[:-_LEVEL_BYTES] if _has_total(levels) else levels


def open_buy_qty(levels: bytes) -> int:
    """Shares of the open BUY orders at these levels; UNKNOWN_QTY where an older version has accepted some of them."""
    if not levels:
        return 0
    rank, qty = LEVEL.unpack_from(levels, len(levels) - _LEVEL_BYTES)
    return qty if rank == TOTAL_RANK else UNKNOWN_QTY


def with_total(levels: bytes, qty: int) -> bytes:
    """The levels with the shares that are open at them behind them, where that is known, and some are."""
    return levels if not levels or qty == UNKNOWN_QTY else levels + LEVEL.pack(TOTAL_RANK, qty)


def with_buy(levels: bytes, price_e4: int, qty: int) -> bytes:
    """The levels after one more BUY order has opened, with their total."""
    before = open_buy_qty(levels)
    after = UNKNOWN_QTY if before == UNKNOWN_QTY else before + qty
    return with_total(with_price(without_total(levels), price_e4, Side.BUY), after)


def _has_total(levels: bytes) -> bool:
    return bool(levels) and LEVEL.unpack_from(levels, len(levels) - _LEVEL_BYTES)[0] == TOTAL_RANK


def with_symbols(prices: Mapping[str, bytes], changed: Mapping[str, bytes]) -> dict[str, bytes]:
    """The levels by symbol after some have changed; in the order of the symbols, so that equal rows are equal bytes."""
    after = {**prices, **changed}
    return after if len(after) == len(prices) else dict(sorted(after.items()))


# --- rows ---------------------------------------------------------------------------------------------------------


def open_in(account: AccountRow | None, position: PositionRow | None, symbol: str) -> tuple[int, int, int]:
    """The best prices of an account's open BUY and SELL orders in a symbol, and the shares of its BUY orders, or 0."""
    buys = b"" if account is None else account.buy_prices.get(symbol, b"")
    return best_e4(buys), 0 if position is None else best_e4(position.sell_prices), open_buy_qty(buys)


def with_leaves(
    account: AccountRow, position: PositionRow | None, order: OrderRow, leaves_qty: int
) -> tuple[AccountRow, PositionRow | None]:
    """Account and position after ``leaves_qty`` of ``order`` is open; its price goes with the last share.

    More is open than before where a fill was taken back: then an order of which nothing was open, but that has not
    ended, has its price here again.
    """
    if not order.counted or order.leaves_qty == leaves_qty:
        return account, position
    is_open_as_before = bool(order.leaves_qty) is bool(leaves_qty)
    changed = with_price if leaves_qty else without_price
    if order.side is _BUY:
        before = account.buy_prices.get(order.symbol, b"")
        levels, qty = without_total(before), open_buy_qty(before)
        if not is_open_as_before:
            levels = changed(levels, order.price_e4, _BUY)
        if qty != UNKNOWN_QTY:
            qty += leaves_qty - order.leaves_qty
        prices = with_symbols(account.buy_prices, {order.symbol: with_total(levels, qty)})
        if not levels:
            del prices[order.symbol]
        return _account(account, account.pending_cash_e4, prices), position
    assert position is not None, "what is reserved is held"
    gone_e4 = proceeds_max_e4(order.price_e4, order.leaves_qty - leaves_qty)
    account = _account(account, account.pending_cash_e4 - gone_e4, account.buy_prices)
    if is_open_as_before:
        return account, position
    levels = changed(position.sell_prices, order.price_e4, Side.SELL)
    return account, PositionRow(position.qty, position.reserved_qty, levels)


def _account(account: AccountRow, pending_cash_e4: int, buy_prices: dict[str, bytes]) -> AccountRow:
    return AccountRow(
        account.status, account.cash_e4, account.reserved_cash_e4, account.seq, pending_cash_e4, buy_prices
    )
