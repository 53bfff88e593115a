"""Sliding windows, merged from panes, against numpy over the whole list of trades for every window."""

from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.offline import OfflineMarket
from signals.snapshots import load_market, save_market
from streams.model.tables import SnapshotLayout

S = 1_000_000_000
TUMBLING = (S, 60 * S)
SLIDING = ((10 * S, 2 * S), (60 * S, 2 * S), (300 * S, 30 * S))
"""One between the tumbling lengths; one as long as one of them; panes of two lengths, which nobody asked for."""
CUTS = st.lists(st.integers(0, 10_000), max_size=4)
Key = tuple[int, int, int]
VALUES = ["open_e4", "high_e4", "low_e4", "close_e4", "volume", "notional_e4", "trades"]


def counted_whole(log: Array) -> dict[Key, tuple[int, ...]]:
    """Every sliding and tumbling window that holds a standing trade, from all of its trades at once."""
    trades = log[log["broken_ns"] == 0]
    trades = trades[np.argsort(trades["event_ns"], kind="stable")]
    found: dict[Key, tuple[int, ...]] = {}
    for length, step in (*((w, w) for w in TUMBLING), *SLIDING):
        pane = trades["event_ns"] // step * step
        for back, instrument in product(range(length // step), np.unique(trades["instrument_id"])):
            for start in np.unique(pane[trades["instrument_id"] == instrument]) - back * step:
                inside = trades[
                    (trades["instrument_id"] == instrument)
                    & (trades["event_ns"] >= start)
                    & (trades["event_ns"] < start + length)
                ]
                prices, qty = inside["price_e4"], inside["qty"]
                values = prices[0], prices.max(), prices.min(), prices[-1], qty.sum(), (prices * qty).sum(), len(inside)
                found[length, int(start), int(instrument)] = tuple(int(value) for value in values)
    return found


def final(rows: Array) -> dict[Key, tuple[int, ...]]:
    """The last revision of each bar that is not taken back; revisions are numbered without a gap."""
    found: dict[Key, tuple[int, ...]] = {}
    revisions: dict[Key, int] = {}
    for bar in rows:
        key = (int(bar["window_ns"]), int(bar["window_start_ns"]), int(bar["instrument_id"]))
        assert bar["revision"] == revisions.get(key, -1) + 1
        revisions[key] = int(bar["revision"])
        found[key] = tuple(int(bar[name]) for name in VALUES)
    return {key: values for key, values in found.items() if values[-1]}


def standing(market: Any) -> Array:
    log: Array = market.bars.parts[0].state.log[: market.bars.parts[0].state.counters[1]]
    return log


@settings(deadline=None, max_examples=60)
@given(flows(disorder=True, size=150), CUTS)
def test_sliding_bars_when_trades_come_late_or_are_broken_then_equal_to_numpy(ticks: Ticks, cuts: list[int]) -> None:
    market = OfflineMarket(TUMBLING, sliding_ns=SLIDING, record_bbo=False)
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    rows = [rows for begin, end in pairwise(edges) for rows, _ in market.apply(ticks[begin:end])]
    assert final(np.concatenate([*rows, market.close()])) == counted_whole(standing(market))


@settings(deadline=None, max_examples=60)
@given(flows(disorder=True, size=150), st.integers(0, 10_000))
def test_sliding_bars_when_killed_and_restored_then_every_byte_is_the_same(ticks: Ticks, cut: int) -> None:
    cut %= len(ticks) + 1

    def create() -> MarketState:
        return MarketState(TUMBLING, SLIDING)

    through, first, plain = create(), create(), MarketState(TUMBLING)
    through.apply(ticks[:cut], 0)
    first.apply(ticks[:cut], 0)
    plain.apply(ticks[:cut], 0)
    with TemporaryDirectory() as directory_name:
        save_market(first, Path(directory_name))
        layout = SnapshotLayout("signals.market.market", LAYOUT_VERSION, first.declaration())
        second = load_market(Path(directory_name), layout, create)
    with TemporaryDirectory() as directory_name:
        save_market(plain, Path(directory_name))
        layout = SnapshotLayout("signals.market.market", LAYOUT_VERSION, plain.declaration())
        added = load_market(Path(directory_name), layout, create)
    expected = through.apply(ticks[cut:], 0).bars
    assert second.apply(ticks[cut:], 0).bars.tobytes() == expected.tobytes()
    assert added.apply(ticks[cut:], 0).bars.tobytes() == expected.tobytes()
    for name, array in through.arrays().items():
        assert array.tobytes() == second.arrays()[name].tobytes(), name
    tumbling = expected[through.bars.are_tumbling(expected)]
    assert tumbling.tobytes() == plain.apply(ticks[cut:], 0).bars.tobytes()


def test_sliding_bars_when_silent_then_each_step_is_issued_until_the_trade_has_left() -> None:
    trade = row(TickKind.TRADE, 5 * S, instrument_id=0, aux_ref=1, price_e4=price(1), qty=7)
    late = row(TickKind.TRADE, 4 * S, instrument_id=0, aux_ref=2, price_e4=price(2), qty=1)
    beats = [row(TickKind.HEARTBEAT, at * S, instrument_id=-1) for at in (9, 50)]
    market = MarketState((S,), ((10 * S, 2 * S),))
    bars = market.apply(tick_array([*directory(["A"]), trade, beats[0], late, beats[1]]), 0).bars
    sliding = bars[bars["window_ns"] == 10 * S]
    told = [
        (int(bar["window_start_ns"] - SESSION_NS) // S, int(bar["volume"]), int(bar["revision"])) for bar in sliding
    ]
    assert told == [(-4, 7, 0), (-2, 7, 0), (-4, 8, 1), (-2, 8, 1), (0, 8, 0), (2, 8, 0), (4, 8, 0)]
