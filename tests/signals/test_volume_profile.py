"""The volume profile against a count of shares by price."""

from collections import Counter
from fractions import Fraction

import numpy as np
from common.contracts.ticks import Ticks
from common.testing.market_flow import flows
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.indicators import SHIPPED
from signals.domain.layout import TRADE, Array
from signals.offline import OfflineMarket

from tests.signals.test_indicators import S
from tests.signals.test_measures import final_numbers, in_python, standing

PROFILE = SHIPPED["volume_profile"]
TRADES = st.lists(st.tuples(st.integers(1, 3_000_000), st.integers(1, 1 << 40)), min_size=1, max_size=40)


def counted(trades: Array) -> tuple[int, ...]:
    """Peak, value area and width, from shares by price."""
    cents = [int(price) // 100 for price in trades["price_e4"]]
    width = 1
    while max(cents) // width - min(cents) // width >= 64:
        width *= 2
    bins: Counter[int] = Counter()
    for cent, qty in zip(cents, trades["qty"].tolist(), strict=True):
        bins[cent // width] += qty
    first = min(cents) // width
    peak = min(bins, key=lambda each: (-bins[each], each))
    low = high = peak
    while Fraction(sum(bins[each] for each in range(low, high + 1)), sum(bins.values())) < Fraction(7, 10):
        below = bins[low - 1] if low > first else -1
        above = bins[high + 1] if high < first + 63 else -1
        low, high = (low, high + 1) if above >= below else (low - 1, high)
    return 100 * width * peak, 100 * width * low, 100 * width * (high + 1), 100 * width


def trades_of(drawn: list[tuple[int, int]]) -> Array:
    trades = np.zeros(len(drawn), TRADE)
    trades["price_e4"], trades["qty"] = [p for p, _ in drawn], [q for _, q in drawn]
    return trades


@settings(deadline=None, max_examples=200)
@given(TRADES, TRADES)
def test_profile_when_windows_merge_then_as_if_all_trades_were_added_in_any_order(
    first: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    every = trades_of([*first, *later])
    assert in_python(PROFILE, every) == counted(every) == in_python(PROFILE, every[::-1].copy())
    tallies = np.zeros(2, PROFILE.dtype).view(np.recarray)
    for tally, part in zip(tallies, (first, later), strict=True):
        for trade in trades_of(part).view(np.recarray):
            PROFILE.add(tally, trade)
    PROFILE.merge(tallies[0], tallies[1])
    assert tuple(map(int, PROFILE.result(tallies[0]))) == counted(every)


@settings(deadline=None, max_examples=20)
@given(flows(disorder=True, size=120))
def test_profile_when_trades_come_late_or_are_broken_then_that_of_the_standing_trades(ticks: Ticks) -> None:
    market = OfflineMarket((S, 60 * S), [PROFILE], record_bbo=False)
    rows = np.concatenate([*(rows for rows, _ in market.apply(ticks)), market.close()])
    for place, told in final_numbers(rows, PROFILE.results).items():
        trades = standing(market, place)
        if len(trades):
            assert told == counted(trades)
