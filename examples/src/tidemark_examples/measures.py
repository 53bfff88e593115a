"""The tick test as a measure: how many trades were at a higher price than the trade before, and how many at a lower.

Lee and Ready, "Inferring trade direction from intraday data", Journal of Finance 46 (1991), infer from it who traded
aggressively. It needs the trades in their order, which is what a measure gets unless it says that it needs none.
"""

from typing import Any, Final

from common.measures import Measure


def add(tally: Any, trade: Any) -> None:
    if tally.trades == 0:
        tally.first_e4 = trade.price_e4
    elif trade.price_e4 > tally.last_e4:
        tally.upticks += 1
    elif trade.price_e4 < tally.last_e4:
        tally.downticks += 1
    tally.last_e4 = trade.price_e4
    tally.trades += 1


def merge(tally: Any, later: Any) -> None:
    if later.first_e4 > tally.last_e4:
        tally.upticks += 1
    elif later.first_e4 < tally.last_e4:
        tally.downticks += 1
    tally.upticks += later.upticks
    tally.downticks += later.downticks
    tally.last_e4 = later.last_e4
    tally.trades += later.trades


def result(tally: Any) -> tuple[int, int]:
    return tally.upticks, tally.downticks


TICKS: Final = Measure(
    "ticks",
    tally={
        "trades": "<i8",
        "first_e4": "<i8",
        "last_e4": "<i8",
        "upticks": "<i8",
        "downticks": "<i8",
    },
    add=add,
    merge=merge,
    result=result,
    results=("upticks", "downticks"),
)
