"""Worth of an account, and what it has lost: since the day began, and from the highest that it was. Pure.

Worth is cash and what is held at the bid. A day is one of UTC, and begins for an account with its first intent of the
day. What comes in or goes out is neither won nor lost. What is not known is beyond every limit.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from common.contracts.values import INT64_MAX

DAY_NS: Final = 86_400_000_000_000
UNKNOWN_E4: Final = INT64_MAX
"""In place of a worth, or of a loss."""


class EquityRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The base an account is measured from. UNKNOWN_E4 where shares of an unknown price came in: until the next day."""

    day: int
    begin_e4: int
    peak_e4: int


class Losses(NamedTuple):
    """At one instant; UNKNOWN_E4 where it is not known."""

    loss_e4: int = 0
    drawdown_e4: int = 0


def equity_e4(cash_e4: int, held: Iterable[tuple[int, int]]) -> int:
    """``held``: shares and their bid; UNKNOWN_E4 where something is held that has none, or 64 bits are too few."""
    worth_e4 = cash_e4
    for qty, bid_e4 in held:
        if bid_e4 <= 0:
            return UNKNOWN_E4
        worth_e4 += qty * bid_e4
    return min(worth_e4, UNKNOWN_E4)


def carried(row: EquityRow | None, worth_e4: int, now_ns: int) -> EquityRow | None:
    """The row at this instant; as it was where the worth is not known."""
    if worth_e4 == UNKNOWN_E4:
        return row
    day = now_ns // DAY_NS
    if row is None or (row.peak_e4 == UNKNOWN_E4 and day > row.day):
        return EquityRow(day, worth_e4, worth_e4)
    if row.peak_e4 == UNKNOWN_E4:
        return row
    begin_e4 = worth_e4 if day > row.day else row.begin_e4
    return EquityRow(max(day, row.day), begin_e4, max(row.peak_e4, worth_e4))


def losses(row: EquityRow | None, worth_e4: int) -> Losses:
    """``row``: as it was carried on to this instant."""
    if worth_e4 == UNKNOWN_E4 or row is None or row.peak_e4 == UNKNOWN_E4:
        return Losses(UNKNOWN_E4, UNKNOWN_E4)
    return Losses(max(0, row.begin_e4 - worth_e4), row.peak_e4 - worth_e4)


def with_flow(row: EquityRow, flow_e4: int) -> EquityRow:
    """The row after money, or shares of that worth, have come in (or gone out, where it is negative)."""
    if UNKNOWN_E4 in (row.peak_e4, flow_e4):
        return EquityRow(row.day, UNKNOWN_E4, UNKNOWN_E4)
    begin_e4, peak_e4 = row.begin_e4 + flow_e4, row.peak_e4 + flow_e4
    if max(begin_e4, peak_e4) >= UNKNOWN_E4:
        return EquityRow(row.day, UNKNOWN_E4, UNKNOWN_E4)
    return EquityRow(row.day, begin_e4, peak_e4)
