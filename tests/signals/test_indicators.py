"""The shipped measures against numpy and exact fractions over the trades of each window."""

from fractions import Fraction
from itertools import pairwise
from math import isqrt

import numpy as np
import pytest
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain import count
from signals.domain.indicators import SHIPPED
from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.installed import installed_measures
from signals.offline import OfflineMarket

S = 1_000_000_000
WINDOWS, SLIDING = (S, 60 * S), ((300 * S, 30 * S),)
MEASURES = tuple(SHIPPED.values())
NAMES = tuple(name for measure in MEASURES for name in measure.results)
Key = tuple[int, int, int]


def of_trades(trades: Array, start: int, length: int) -> tuple[int, ...]:
    """All results, from the trades of a window in the order of event time, then of arrival."""
    prices, times = trades["price_e4"].astype(object), trades["event_ns"] // 1000
    until = np.append(times[1:], (start + length) // 1000)
    span = int(until[-1] - times[0])
    twap = Fraction(int((prices * (until - times).astype(object)).sum()), span).__floor__() if span else prices[-1]
    mean = Fraction(int(prices.sum()), len(prices))
    variance = Fraction(int((prices * prices).sum()), len(prices)) - mean * mean
    spread = Fraction(int(prices.max() - prices.min()) * 1_000_000, mean.__floor__()).__floor__()
    returns = np.rint(np.diff(np.log(trades["price_e4"].astype(float))) * 1e8).astype(np.int64)
    volatility = isqrt(int((returns**2).sum())) // 100
    bought, sold = (int(trades["qty"][trades["aggressor"] == side].sum()) for side in (1, -1))
    imbalance = (bought - sold) * 1_000_000 // (bought + sold) if bought + sold else 0
    return (twap, mean.__floor__(), isqrt(variance.__floor__()), spread, volatility, bought, sold, imbalance)


def final(rows: Array) -> dict[Key, tuple[int, ...]]:
    """The last revision of each bar that is not taken back."""
    found = {(int(bar["window_ns"]), int(bar["window_start_ns"]), int(bar["instrument_id"])): bar for bar in rows}
    names = ("twap_e4", "mean_e4", "stdev_e4", "range_ppm", "realised_volatility_ppm", "bought", "sold")
    return {
        key: tuple(int(bar[name]) for name in (*names, "flow_imbalance_ppm"))
        for key, bar in found.items()
        if bar["trades"]
    }


def assert_equal_to_numpy(market: OfflineMarket, rows: Array) -> int:
    log = market.bars.parts[0].state.log[: market.bars.parts[0].counters[count.TRADES_NEXT]]
    log = log[log["broken_ns"] == 0]
    log = log[np.argsort(log["event_ns"], kind="stable")]
    numbers = final(rows)
    for (length, start, instrument), told in numbers.items():
        begin, end = np.searchsorted(log["event_ns"], [start, start + length])
        inside = log[begin:end]
        expected = of_trades(inside[inside["instrument_id"] == instrument], start, length)
        # Roots and the rounding of logarithms are floats: one unit of the last place.
        assert told[:2] + told[3:4] + told[5:] == expected[:2] + expected[3:4] + expected[5:], (length, start)
        assert abs(told[2] - expected[2]) <= 1
        assert abs(told[4] - expected[4]) <= 1
    return len(numbers)


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=150), st.lists(st.integers(0, 10_000), max_size=3))
def test_indicators_when_trades_come_late_or_are_broken_then_equal_to_numpy(ticks: Ticks, cuts: list[int]) -> None:
    market = OfflineMarket(WINDOWS, MEASURES, sliding_ns=SLIDING, record_bbo=False)
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    rows = [rows for begin, end in pairwise(edges) for rows, _ in market.apply(ticks[begin:end])]
    assert_equal_to_numpy(market, np.concatenate([*rows, market.close()]))


def test_trade_flow_when_orders_are_executed_then_the_aggressor_is_the_other_side() -> None:
    orders = [
        row(TickKind.ADD, 0, instrument_id=0, order_ref=ref, side=ord(side), price_e4=price(ref), qty=50)
        for ref, side in ((1, "B"), (2, "S"))
    ]
    trades = [
        row(TickKind.EXECUTED, 1, instrument_id=0, order_ref=1, qty=10, aux_ref=1),
        row(TickKind.EXECUTED, 2, instrument_id=0, order_ref=2, qty=30, aux_ref=2),
        row(TickKind.TRADE, 3, instrument_id=0, price_e4=price(1), qty=99, aux_ref=3),
    ]
    market = MarketState((S,), measures=MEASURES)
    beat = row(TickKind.HEARTBEAT, S, instrument_id=-1)
    measured = market.apply(tick_array([*directory(["A"]), *orders, *trades, beat]), 0).measured
    told = dict(zip(measured["measure"].tolist(), measured["value"].tolist(), strict=True))
    assert (told[b"bought"], told[b"sold"], told[b"flow_imbalance_ppm"]) == (30, 10, 500_000)


def test_twap_when_silent_then_a_price_counts_for_as_long_as_it_holds() -> None:
    """100.00 for a tenth of the window and 100.10 for the rest of it; what was before the first trade is not known."""
    trades = [
        row(TickKind.TRADE, at, instrument_id=0, price_e4=price(step), qty=1, aux_ref=1 + step)
        for at, step in ((0, 0), (S // 10, 10))
    ]
    market = MarketState((S,), measures=MEASURES)
    beat = row(TickKind.HEARTBEAT, S, instrument_id=-1)
    assert SESSION_NS % S == 0
    measured = market.apply(tick_array([*directory(["A"]), *trades, beat]), 0).measured
    assert measured["value"][measured["measure"] == b"twap_e4"].tolist() == [price(9)]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_measure_when_named_then_found(name: str) -> None:
    assert installed_measures([name]) == (SHIPPED[name],)
