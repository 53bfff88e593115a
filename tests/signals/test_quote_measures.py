"""The measures of quotes against numpy, over the changes of best prices and sizes as the books tell them."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from common.books.layout import BBO
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.domain.quote_measures import SHIPPED
from signals.domain.quote_windows import QuoteWindows
from signals.installed import installed_measures
from signals.offline import OfflineMarket

from tests.signals.test_snapshot_layouts import restored

S = 1_000_000_000
WINDOWS = (S, 7 * S, 60 * S, 300 * S)
MEASURES = tuple(SHIPPED.values())
RESULTS = tuple(name for measure in sorted(MEASURES, key=lambda m: m.name) for name in measure.results)
Place = tuple[int, int, int]
"""(window length, window start, instrument)."""
Numbers = dict[str, int]


def flow(before: Array, now: Array) -> int:
    """Equation 4 of Cont, Kukanov and Stoikov; an empty side bids 0 and offers at no price."""
    offer = (1 << 63) - 1
    asks = [int(quote["ask_e4"]) if quote["ask_size"] else offer for quote in (before, now)]
    bid = int(now["bid_size"]) * (now["bid_e4"] >= before["bid_e4"])
    bid -= int(before["bid_size"]) * (now["bid_e4"] <= before["bid_e4"])
    ask = int(now["ask_size"]) * (asks[1] <= asks[0]) - int(before["ask_size"]) * (asks[1] >= asks[0])
    return int(bid - ask)


def halved(bids: int, asks: int) -> tuple[int, int]:
    """Sizes as they weigh: exact below 2^31 together."""
    while bids + asks >= 1 << 31:
        bids, asks = (bids + 1) // 2, (asks + 1) // 2
    return bids, asks


def of_window(quotes: Array, start: int, length: int) -> Numbers:
    """Every result, from the quotes of an instrument: rows of BBO in their order, the first without anything."""
    times = quotes["clock_ns"]
    inside = np.flatnonzero((times >= start) & (times < start + length))
    told = {"order_flow_imbalance": sum(flow(quotes[i - 1], quotes[i]) for i in inside), "quote_changes": len(inside)}
    until = np.append(times[1:], np.iinfo(np.int64).max)
    begins, ends = np.maximum(times, start), np.minimum(until, start + length)
    stood = (ends > begins) | np.isin(np.arange(len(quotes)), inside)
    stood &= (quotes["bid_size"] > 0) & (quotes["ask_size"] > 0)
    held = [int(us) for us in (ends // 1000 - begins // 1000)[stood]]
    rows = [[int(each[name]) for name in ("bid_e4", "bid_size", "ask_e4", "ask_size")] for each in quotes[stood]]
    spreads = [ask - bid for bid, _, ask, _ in rows]
    weights = [halved(bids, asks) for _, bids, _, asks in rows]
    shares = [(bids - asks) * 1_000_000 // (bids + asks) for bids, asks in weights]
    middles = [r[0] + (r[2] - r[0]) * bids // (bids + asks) for r, (bids, asks) in zip(rows, weights, strict=True)]

    def mean(values: list[int]) -> int:
        return sum(v * us for v, us in zip(values, held, strict=True)) // sum(held) if sum(held) else 0

    first = middles[0] if middles else 0
    above = mean([each - first for each in middles])
    return told | {
        "spread_mean_e4": mean(spreads),
        "spread_low_e4": min(spreads, default=0),
        "spread_high_e4": max(spreads, default=0),
        "book_imbalance_ppm": mean(shares),
        "microprice_mean_e4": first + above,
        "microprice_last_e4": middles[-1] if middles else 0,
    }


def expected_of(changes: Array, lengths: tuple[int, ...] = WINDOWS) -> dict[Place, Numbers]:
    """Numbers of each window in which a quote changed."""
    found: dict[Place, Numbers] = {}
    for instrument in np.unique(changes["instrument_id"]).tolist():
        own = changes[changes["instrument_id"] == instrument]
        quotes = np.concatenate((np.zeros(1, own.dtype), own))
        for length in lengths:
            for start in np.unique(own["clock_ns"] // length * length).tolist():
                found[length, start, instrument] = of_window(quotes, start, length)
    return found


def numbers_of(rows: Array) -> dict[Place, Numbers]:
    told = {
        (int(r["window_ns"]), int(r["window_start_ns"]), int(r["instrument_id"])): {n: int(r[n]) for n in RESULTS}
        for r in rows
    }
    assert len(told) == len(rows), "a window is issued once"
    return told


QUOTES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from((0, 1, 999, 1_000_000, 300_000_000, S, 8 * S, 61 * S)),
        *(st.integers(0, 12), st.sampled_from((0, 5, 700, 1 << 40))),
        *(st.integers(0, 12), st.sampled_from((0, 5, 700, 1 << 40))),
    ),
    max_size=60,
)
"""Instrument, time since the change before, and both sides: a step of price, and the size."""


def bbo_rows(drawn: list[tuple[int, ...]]) -> Array:
    rows = np.zeros(len(drawn), BBO)
    clock_ns = SESSION_NS
    for each, (instrument, wait, bid, bid_size, ask, ask_size) in zip(rows, drawn, strict=True):
        clock_ns += wait
        each["instrument_id"], each["clock_ns"] = instrument, clock_ns
        each["bid_e4"], each["bid_size"] = price(bid) if bid_size else 0, bid_size
        each["ask_e4"], each["ask_size"] = price(ask) if ask_size else 0, ask_size
    return rows


@settings(deadline=None, max_examples=200)
@given(QUOTES, st.lists(st.integers(0, 10_000), max_size=4))
def test_windows_of_any_quotes_then_equal_to_numpy_however_they_are_cut(
    drawn: list[tuple[int, ...]], cuts: list[int]
) -> None:
    changes = bbo_rows(drawn)
    windows = QuoteWindows(WINDOWS, MEASURES)
    windows.admit(3)
    edges = [0, *sorted(cut % (len(changes) + 1) for cut in cuts), len(changes)]
    rows = []
    for begin, end in pairwise(edges):
        clock_ns = int(changes["clock_ns"][end - 1]) if end else SESSION_NS
        rows.append(windows.apply(changes[begin:end], clock_ns))
    rows.append(windows.close_all())
    assert numbers_of(np.concatenate(rows)) == expected_of(changes)


def offline(ticks: Ticks, cuts: list[int], partitions: int = 1) -> tuple[Array, Array]:
    """Rows that are issued, and changes of best prices, of ticks that are cut into parts."""
    market = OfflineMarket(WINDOWS, MEASURES, partitions=partitions)
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    changes = [c.copy() for begin, end in pairwise(edges) for _, c in market.apply(ticks[begin:end])]
    market.close()
    assert market.quotes is not None
    rows = market.quotes.taken()
    return rows if rows is not None else np.zeros(0, np.int64), np.concatenate(changes)


@settings(deadline=None, max_examples=20)
@given(flows(disorder=True, size=150), st.lists(st.integers(0, 10_000), max_size=3))
def test_quote_measures_of_any_market_then_equal_to_numpy(ticks: Ticks, cuts: list[int]) -> None:
    rows, changes = offline(ticks, cuts)
    assert numbers_of(rows) == expected_of(changes)


@settings(deadline=None, max_examples=20)
@given(flows(disorder=True, size=150))
def test_quote_measures_when_each_partition_has_its_clock_then_equal_to_numpy(ticks: Ticks) -> None:
    rows, changes = offline(ticks, [], partitions=2)
    assert numbers_of(rows) == expected_of(changes)


@settings(deadline=None, max_examples=30)
@given(flows(disorder=True, size=200), st.integers(0, 10_000))
def test_quote_measures_after_a_restart_then_every_row_is_as_without_it(ticks: Ticks, cut: int) -> None:
    cut %= len(ticks) + 1

    def create() -> MarketState:
        return MarketState((S, 60 * S), measures=MEASURES)

    always, before = create(), create()
    always.apply(ticks[:cut], 0)
    before.apply(ticks[:cut], 0)
    expected = always.apply(ticks[cut:], 0)
    found = restored(before, create).apply(ticks[cut:], 0)
    assert found.quoted.tobytes() == expected.quoted.tobytes()
    assert found.bars.tobytes() == expected.bars.tobytes()


def add(at_ns: int, ref: int, side: str, step: int, qty: int) -> dict[str, int]:
    fields = {"instrument_id": 0, "order_ref": ref, "side": ord(side), "price_e4": price(step), "qty": qty}
    return row(TickKind.ADD, at_ns, **fields)


def beat(at_ns: int) -> dict[str, int]:
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1)


def told(measured: Array, window_ns: int = S) -> list[tuple[int, Numbers]]:
    """By window: its start after the session's, and its numbers."""
    found: dict[int, Any] = {}
    for each in measured[measured["window_ns"] == window_ns]:
        found.setdefault(int(each["window_start_ns"]) - SESSION_NS, {})[each["measure"].decode()] = int(each["value"])
    return list(found.items())


def test_spread_when_a_quote_stands_then_it_weighs_by_its_time_and_silent_windows_are_not_issued() -> None:
    """100 ticks apart for a quarter of a second, then 50, for 3.75 s: the minute knows of the silent seconds, too."""
    quotes = [add(0, 1, "B", 0, 10), add(0, 2, "S", 100, 30), add(S // 4, 3, "S", 50, 30), beat(4 * S), beat(60 * S)]
    market = MarketState((S, 60 * S), measures=MEASURES)
    measured = market.apply(tick_array([*directory(["A"]), *quotes]), 0).quoted
    tick = price(1) - price(0)
    ((start, second),) = told(measured)
    assert (start, second["spread_mean_e4"]) == (0, (100 * tick + 3 * 50 * tick) // 4)
    assert second["book_imbalance_ppm"] == -500_000
    ((_, minute),) = told(measured, 60 * S)
    assert minute["spread_mean_e4"] == (100 * tick + 239 * 50 * tick) // 240
    assert (minute["spread_low_e4"], minute["spread_high_e4"]) == (50 * tick, 100 * tick)


def test_order_flow_when_sizes_and_prices_change_then_as_the_paper_has_it() -> None:
    """10 come to the bid, 5 more to it, 20 above it; 30 to the offer, which are all taken away again."""
    ticks = [add(0, 1, "B", 0, 10), add(1, 2, "B", 0, 5), add(2, 3, "B", 1, 20), add(3, 4, "S", 9, 30)]
    gone = row(TickKind.DELETE, 4, instrument_id=0, order_ref=4)
    market = MarketState((S,), measures=MEASURES)
    ((_, second),) = told(market.apply(tick_array([*directory(["A"]), *ticks, gone, beat(S)]), 0).quoted)
    assert (second["order_flow_imbalance"], second["quote_changes"]) == (10 + 5 + 20 - 30 + 30, 5)


def test_session_when_it_begins_in_a_window_then_no_quote_is_left_over_and_the_window_goes_on() -> None:
    opened = row(TickKind.SYSTEM_EVENT, S // 2, instrument_id=-1, detail=ord("O"))
    quotes = [add(0, 1, "B", 0, 10), add(0, 2, "S", 10, 10), opened, add(S // 2, 3, "B", 0, 7), beat(S)]
    market = MarketState((S,), measures=MEASURES)
    ((_, second),) = told(market.apply(tick_array([*directory(["A"]), *quotes]), 0).quoted)
    assert (second["order_flow_imbalance"], second["quote_changes"]) == (10 - 10 + 7, 3)
    assert second["spread_mean_e4"] == price(10) - price(0)


def test_quote_measure_when_added_by_a_restart_then_it_begins_with_the_next_window() -> None:
    market = MarketState((S,))
    market.apply(tick_array([*directory(["A"]), add(0, 1, "B", 0, 10), add(0, 2, "S", 10, 10)]), 0)
    later = restored(market, lambda: MarketState((S,), measures=MEASURES))
    ticks = [add(S // 2, 3, "S", 5, 1), beat(S), add(3 * S // 2, 4, "S", 1, 1), beat(2 * S)]
    ((start, second),) = told(later.apply(tick_array(ticks), 0).quoted)
    assert start == S
    tick = price(1) - price(0)
    assert second["spread_mean_e4"] == (5 * tick + 1 * tick) // 2


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_measure_of_quotes_when_named_then_found(name: str) -> None:
    assert installed_measures([name]) == (SHIPPED[name],)
