"""Snapshots of a market: of the layout before, and under other windows and measures than today's."""

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from common.contracts.market import BAR
from common.contracts.ticks import TickKind, Ticks
from common.contracts.topics import MD_TICKS
from common.measures import Measure
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.snapshots import load_market, save_market
from signals.stages import market_table
from streams.model.tables import SnapshotLayout
from streams.state.snapshots import SnapshotDirectory

LAYOUTS = (("snapshot-layout-1", 600), ("snapshot-layout-2", 720), ("snapshot-layout-3", 840))
"""A market after so many ticks as commits c40455c, 9a08284 and 96faa38 saved it; ``rest.npy``: ticks more; ``bars.npy``
and ``marks.npy``: what that code went on to issue of them, with 85 restated bars among 192, 51 among 117, 42 among 105.
"""
S = 1_000_000_000
SHORT, LONG = (S, 60 * S), (S, 60 * S, 300 * S)
CUT = st.integers(0, 10_000)


def add_shares(tally: Any, trade: Any) -> None:
    tally.shares += trade.qty


def merge_shares(tally: Any, later: Any) -> None:
    tally.shares += later.shares


SHARES = Measure("shares", {"shares": "<i8"}, add_shares, merge_shares, lambda tally: tally.shares, ("shares",))


def restored(market: MarketState, create: Callable[[], MarketState]) -> MarketState:
    """A state from ``create``, after a snapshot of ``market`` was restored into it."""
    layout = SnapshotLayout("signals.market.market", LAYOUT_VERSION, market.declaration())
    with TemporaryDirectory() as path:
        save_market(market, Path(path))
        return load_market(Path(path), layout, create)


def rest_of(before: MarketState, ticks: Ticks, cut: int, create: Callable[[], MarketState]) -> tuple[Any, MarketState]:
    """Effects of the ticks after ``cut``, across a restart from ``before`` to what ``create`` makes."""
    before.apply(ticks[:cut], 0)
    market = restored(before, create)
    return market.apply(ticks[cut:], 0), market


@pytest.mark.parametrize(("name", "ticks"), LAYOUTS)
def test_snapshot_when_written_by_a_layout_before_then_restored_and_every_record_is_as_that_code_made_it(
    tmp_path: Path, name: str, ticks: int
) -> None:
    with tarfile.open(Path(__file__).parent / "data" / f"{name}.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
        archive.extractall(tmp_path)
    expected = {name: np.load(tmp_path / f"{name}.npy") for name in ("rest", "bars", "marks")}
    table = market_table(lateness_ns=1 << 62)  # that code knew no lateness beyond which a trade is in no window
    found = SnapshotDirectory(tmp_path, table, "signals.market.market").newest({MD_TICKS.name: ticks})
    assert found is not None
    assert dict(found.positions) == {MD_TICKS.name: ticks}
    effects = found.state.apply(expected["rest"], 7)
    assert effects.bars.dtype == BAR
    known = effects.bars[np.isin(effects.bars["window_ns"], SHORT)]  # that code had two windows
    assert known.tobytes() == expected["bars"].tobytes()
    assert np.concatenate([beat.marks for beat in effects.beats]).tobytes() == expected["marks"].tobytes()
    assert found.state.anomalies()["lost_restatement"] == 0


@settings(deadline=None, max_examples=60)
@given(flows(disorder=True, size=200), CUT)
def test_window_when_added_by_a_restart_then_its_bars_are_those_of_a_market_that_always_had_it(
    ticks: Ticks, cut: int
) -> None:
    cut %= len(ticks) + 1
    always = MarketState(LONG)
    always.apply(ticks[:cut], 0)
    effects, market = rest_of(MarketState(SHORT), ticks, cut, lambda: MarketState(LONG))
    assert effects.bars.tobytes() == always.apply(ticks[cut:], 0).bars.tobytes()
    assert market.bars.state.windows.tolist() == list(LONG)
    known = np.arange(len(market.books.listings))
    assert market.bars.open_bars(known).tobytes() == always.bars.open_bars(known).tobytes()


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=200), CUT, st.sampled_from([(S,), (60 * S,), (7 * S, 300 * S)]))
def test_window_when_taken_out_by_a_restart_then_bars_are_those_of_a_market_that_never_had_it(
    ticks: Ticks, cut: int, fewer: Sequence[int]
) -> None:
    cut %= len(ticks) + 1
    never = MarketState(fewer)
    never.apply(ticks[:cut], 0)
    effects, _ = rest_of(MarketState(LONG), ticks, cut, lambda: MarketState(fewer))
    assert effects.bars.tobytes() == never.apply(ticks[cut:], 0).bars.tobytes()


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=200), CUT)
def test_measure_when_added_by_a_restart_then_it_says_what_it_would_always_have_said(ticks: Ticks, cut: int) -> None:
    cut %= len(ticks) + 1
    always = MarketState(SHORT, measures=[SHARES])
    always.apply(ticks[:cut], 0)
    expected = always.apply(ticks[cut:], 0)
    effects, _ = rest_of(MarketState(SHORT), ticks, cut, lambda: MarketState(SHORT, measures=[SHARES]))
    assert effects.bars.tobytes() == expected.bars.tobytes()
    assert effects.measured.tobytes() == expected.measured.tobytes()
    gone, _ = rest_of(MarketState(SHORT, measures=[SHARES]), ticks, cut, lambda: MarketState(SHORT))
    assert gone.bars.tobytes() == expected.bars.tobytes()
    assert len(gone.measured) == 0


def trade(at_ns: int, match: int) -> dict[str, int]:
    return row(TickKind.TRADE, at_ns, instrument_id=0, aux_ref=match, price_e4=price(1), qty=5)


def beat(at_ns: int) -> dict[str, int]:
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1)


def twenty_trades() -> MarketState:
    """A log of eight trades, after twenty in the first twenty seconds."""
    market = MarketState(SHORT, trades_max=8)
    market.apply(tick_array([*directory(["A"]), *(trade(i * S, i + 1) for i in range(20))]), 0)
    return market


def test_window_when_added_and_the_log_does_not_reach_back_to_its_start_then_the_next_one_is_the_first() -> None:
    market = restored(twenty_trades(), lambda: MarketState(LONG, trades_max=8))
    assert market.anomalies()["lost_restatement"] >= 1
    assert 300 * S not in market.bars.open_bars(np.arange(1))["window_ns"]
    later = tick_array([trade(30 * S, 31), beat(300 * S), trade(301 * S, 32), beat(600 * S)])
    bars = market.apply(later, 0).bars
    five = bars[bars["window_ns"] == 300 * S]
    assert five["window_start_ns"].tolist() == [SESSION_NS + 300 * S]
    assert five["volume"].tolist() == [5]
    minute = bars[bars["window_ns"] == 60 * S]
    assert minute["window_start_ns"].tolist() == [SESSION_NS, SESSION_NS + 300 * S]
    assert minute["volume"].tolist() == [105, 5]


def test_measure_when_added_and_the_log_does_not_reach_back_then_its_first_bar_is_without_it() -> None:
    market = restored(twenty_trades(), lambda: MarketState(SHORT, measures=[SHARES], trades_max=8))
    effects = market.apply(tick_array([trade(30 * S, 31), beat(60 * S), trade(61 * S, 32), beat(120 * S)]), 0)
    minute = effects.bars[effects.bars["window_ns"] == 60 * S]
    assert minute["volume"].tolist() == [105, 5]
    measured = effects.measured[effects.measured["window_ns"] == 60 * S]
    assert measured[["window_start_ns", "value"]].tolist() == [(SESSION_NS + 60 * S, 5)]


def test_window_when_taken_out_then_what_is_on_show_of_it_is_taken_down() -> None:
    rows = [*directory(["A"]), trade(0, 1), beat(1), trade(61 * S, 2), beat(61 * S + 1), trade(62 * S, 3)]
    market = MarketState(SHORT)
    shown = set()
    for turn in (told.showcase for told in market.apply(tick_array([*rows, beat(62 * S + 1)]), 0).beats):
        shown |= {(int(bar["window_ns"]), int(bar["window_start_ns"])) for bar in (*turn.closed, *turn.live)}
    market = restored(restored(market, lambda: MarketState((S,))), lambda: MarketState((S,)))
    gone = set()
    for told in market.apply(tick_array([beat(62 * S + 2 + i) for i in range(4)]), 0).beats:
        gone |= {(int(bar["window_ns"]), int(bar["window_start_ns"])) for bar in told.showcase.gone}
        assert all(bar["symbol"] == b"A" for bar in told.showcase.gone)
    assert gone == {key for key in shown if key[0] == 60 * S}
    assert len(gone) == 2
    assert {f"showcase.shelf_{S}"} == {name for name in market.arrays() if "shelf" in name}
