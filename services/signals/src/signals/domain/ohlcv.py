"""The bar as a measure: first, highest, lowest and last price, volume, notional and number of trades.

Its numbers are the columns of ``md.bars``. First and last price are by event time, then by arrival, which a tally finds
in any order of the trades.

Sums stop at ``SUM_MAX``, the greatest number that a row holds, and never wrap: one trade at the specification's maxima
is beyond it. A bar with such a sum is counted (``sum_at_limit``). Sums that stop are the same in any order, too.
"""

from typing import Any, Final

from common.measures import Measure

SUM_MAX: Final = (1 << 63) - 1
_SMALL: Final = 1 << 31
"""The product of two numbers below this is below ``SUM_MAX``."""


def add(tally: Any, trade: Any) -> None:
    if tally.trades == 0 or trade.event_ns < tally.first_ns:
        tally.first_ns = trade.event_ns
        tally.open_e4 = trade.price_e4
    if tally.trades == 0 or trade.event_ns >= tally.last_ns:
        tally.last_ns = trade.event_ns
        tally.close_e4 = trade.price_e4
    tally.high_e4 = trade.price_e4 if tally.trades == 0 else max(tally.high_e4, trade.price_e4)
    tally.low_e4 = trade.price_e4 if tally.trades == 0 else min(tally.low_e4, trade.price_e4)
    price_e4, qty = trade.price_e4, trade.qty
    fits = (price_e4 < _SMALL and qty < _SMALL) or price_e4 <= SUM_MAX // qty
    notional_e4 = price_e4 * qty if fits else SUM_MAX
    tally.volume = tally.volume + qty if tally.volume <= SUM_MAX - qty else SUM_MAX
    tally.notional_e4 = tally.notional_e4 + notional_e4 if tally.notional_e4 <= SUM_MAX - notional_e4 else SUM_MAX
    tally.trades += 1


def merge(tally: Any, later: Any) -> None:
    tally.last_ns = later.last_ns
    tally.close_e4 = later.close_e4
    tally.high_e4 = max(tally.high_e4, later.high_e4)
    tally.low_e4 = min(tally.low_e4, later.low_e4)
    tally.volume = tally.volume + later.volume if tally.volume <= SUM_MAX - later.volume else SUM_MAX
    tally.notional_e4 = (
        tally.notional_e4 + later.notional_e4 if tally.notional_e4 <= SUM_MAX - later.notional_e4 else SUM_MAX
    )
    tally.trades += later.trades


def result(tally: Any) -> tuple[int, ...]:
    return (
        tally.open_e4,
        tally.high_e4,
        tally.low_e4,
        tally.close_e4,
        tally.volume,
        tally.notional_e4,
        tally.trades,
    )


OHLCV: Final = Measure(
    "ohlcv",
    tally={
        "first_ns": "<i8",  # event time of the trade that gave ``open_e4``
        "last_ns": "<i8",
        "open_e4": "<i8",
        "high_e4": "<i8",
        "low_e4": "<i8",
        "close_e4": "<i8",
        "volume": "<i8",
        "notional_e4": "<i8",
        "trades": "<i8",
    },
    add=add,
    merge=merge,
    result=result,
    results=("open_e4", "high_e4", "low_e4", "close_e4", "volume", "notional_e4", "trades"),
    any_order=True,
)
