"""The whole market of a partition: what it tells depends on the ticks alone, and survives a snapshot bit for bit."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from common.contracts.alerts import AlertLimits
from common.contracts.market import BAR
from common.contracts.ticks import TickKind, Ticks
from common.contracts.views import BARS_RETAINED
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.effects import Effects, Limits
from signals.domain.market import MarketState
from signals.domain.showcase import Showcase
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.snapshots import load_market, save_market
from streams.model.tables import SnapshotLayout

S = 1_000_000_000
SMALL = Limits(instruments_told=2, instruments_shown=1, bars_shown=2, bars_cleared=3, flood_ticks=20, flood_shown=1)
CUTS = st.lists(st.integers(0, 10_000), max_size=6)
EAGER = AlertLimits({"VOLUME_SURGE": 1.2, "SPREAD_WIDENING": 1.1, "STALE_FEED": 2.0}, samples_min=2, hold_ns=S)


def told(effects: Effects) -> list[bytes]:
    """Everything that heartbeats tell, as bytes."""
    rows = []
    for beat in effects.beats:
        for field in fields(beat):
            value: Any = getattr(beat, field.name)
            parts = {"showcase": ("gone", "closed", "live"), "alerts": ("gone", "changed")}.get(field.name)
            arrays = [getattr(value, part) for part in parts] if parts else [value]
            rows.append(b"|".join(array.tobytes() for array in arrays))
    return rows


def layout_of(market: MarketState) -> SnapshotLayout:
    return SnapshotLayout("signals.market.market", LAYOUT_VERSION, market.declaration())


def outputs(market: MarketState, ticks: Ticks, cuts: Sequence[int] = ()) -> tuple[bytes, list[bytes]]:
    """All bars and alerts, and all that heartbeats tell."""
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    frames = [market.apply(ticks[begin:end], 7) for begin, end in pairwise(edges)]
    issued = b"".join(f.bars.tobytes() for f in frames) + b"".join(f.alerts.tobytes() for f in frames)
    return issued, [line for f in frames for line in told(f)]


@settings(deadline=None)
@given(flows(damaged=True, disorder=True, size=200), CUTS)
def test_market_when_cut_into_any_frames_then_everything_it_tells_is_the_same(ticks: Ticks, cuts: list[int]) -> None:
    assert outputs(MarketState(limits=SMALL, alert_limits=EAGER), ticks, cuts) == outputs(
        MarketState(limits=SMALL, alert_limits=EAGER), ticks
    )


@settings(deadline=None)
@given(flows(damaged=True, disorder=True, size=200), st.integers(0, 10_000))
def test_market_when_saved_and_loaded_in_the_middle_then_the_rest_is_the_same_bit_for_bit(
    ticks: Ticks, cut: int
) -> None:
    cut %= len(ticks) + 1
    through, first = MarketState(alert_limits=EAGER), MarketState(alert_limits=EAGER)
    assert outputs(through, ticks[:cut]) == outputs(first, ticks[:cut])
    with TemporaryDirectory() as directory:
        save_market(first, Path(directory))
        second = load_market(Path(directory), layout_of(first), lambda: MarketState(alert_limits=EAGER))
    assert outputs(second, ticks[cut:]) == outputs(through, ticks[cut:])
    left, right = through.arrays(), second.arrays()
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert array.tobytes() == right[name].tobytes(), name
    assert second.anomalies() == through.anomalies()


def test_snapshot_when_a_file_is_torn_or_missing_then_refused(tmp_path: Path) -> None:
    save_market(MarketState(), tmp_path)
    torn = tmp_path / "books.orders.npy"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(ValueError, match="array"):
        load_market(tmp_path, layout_of(MarketState()))
    torn.unlink()
    with pytest.raises(KeyError):
        load_market(tmp_path, layout_of(MarketState()))


def trade(at_ns: int, instrument: int, match: int) -> dict[str, int]:
    return row(TickKind.TRADE, at_ns, instrument_id=instrument, aux_ref=match, price_e4=price(1), qty=5)


def beat(at_ns: int) -> dict[str, int]:
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1)


def test_heartbeat_when_more_changed_than_it_may_tell_then_the_longest_waiting_come_first() -> None:
    market = MarketState(limits=SMALL)
    symbols = directory(["A", "B", "C"])
    changes = [trade(i, instrument, i) for i, instrument in enumerate((2, 0, 1, 2), 1)]
    effects = market.apply(tick_array([*symbols, *changes, beat(5), trade(6, 2, 5), beat(7), beat(8)]), 9)
    marks = [[symbol.decode() for symbol in b.marks["symbol"].tolist()] for b in effects.beats]
    assert marks == [["C", "A", ""], ["B", "C", ""], [""]]
    assert [b.marks["event_ns"][-1] - SESSION_NS for b in effects.beats] == [5, 7, 8]
    assert [b.quotes["symbol"].tolist() for b in effects.beats] == [[b"C"], [b"A"], [b"B"]]


def test_heartbeat_when_a_flood_came_before_then_fewer_are_shown() -> None:
    market = MarketState(limits=Limits(flood_ticks=10, flood_shown=1))
    calm = [trade(i, i, 2 * i + 1) for i in range(5)]
    flood = [trade(20 + i, i % 5, 100 + i) for i in range(11)]
    beats = market.apply(tick_array([*calm, beat(10), *flood, beat(40), beat(41)]), 0).beats
    assert [len(told_at.quotes) for told_at in beats] == [5, 1, 4]
    assert [len(told_at.marks) - 1 for told_at in beats] == [5, 5, 0]


def test_mark_when_quoted_traded_and_halted_then_says_so() -> None:
    market = MarketState()
    order = {"instrument_id": 0, "price_e4": price(0), "qty": 30, "side": ord("B"), "order_ref": 1}
    effects = market.apply(
        tick_array(
            [
                *directory(["ABC"]),
                row(TickKind.TRADING_ACTION, 1, instrument_id=0, detail=ord("H")),
                row(TickKind.ADD, 2, **order),
                row(TickKind.ADD, 3, **order | {"order_ref": 2, "price_e4": price(4), "side": ord("S")}),
                row(TickKind.EXECUTED, 4, instrument_id=0, order_ref=1, qty=10, aux_ref=1),
                beat(5),
            ]
        ),
        77,
    )
    mark = effects.beats[0].marks[0]
    assert mark["symbol"] == b"ABC"
    assert [int(mark[name]) for name in ("bid_e4", "bid_size", "ask_e4", "ask_size", "last_e4", "volume")] == [
        *(price(0), 20, price(4), 30),
        *(price(0), 10),
    ]
    assert (mark["trading_state"], mark["event_ns"] - SESSION_NS, mark["ingest_ns"]) == (ord("H"), 4, 77)
    assert effects.beats[0].opens_e4.tolist() == [price(0)]


def shown_after(*frames: list[dict[str, int]], limits: Limits) -> tuple[dict[tuple[bytes, int, int], int], MarketState]:
    """Bars as a store shows them: volume by (symbol, window length, start)."""
    market = MarketState(limits=limits)
    shown: dict[tuple[bytes, int, int], int] = {}
    for frame in frames:
        for told_at in market.apply(tick_array(frame), 0).beats:
            turn = told_at.showcase
            for gone in turn.gone:
                shown.pop((gone["symbol"].item(), gone["window_ns"].item(), gone["window_start_ns"].item()), None)
            for bar in (*turn.closed, *turn.live):
                key = (bar["symbol"].item(), bar["window_ns"].item(), bar["window_start_ns"].item())
                shown[key] = bar["volume"].item()
    return shown, market


def test_showcase_when_windows_grow_old_then_the_newest_600_stay_with_the_open_one() -> None:
    rows = directory(["A"])
    for second in range(2 * BARS_RETAINED):
        rows += [trade(second * S, 0, second + 1), beat(second * S + 1)]
    shown, market = shown_after(rows, [beat(2 * BARS_RETAINED * S + i) for i in range(9)], limits=Limits())
    starts = sorted(start for _, window_ns, start in shown if window_ns == S)
    assert starts == [SESSION_NS + s * S for s in range(BARS_RETAINED + 1, 2 * BARS_RETAINED)]
    assert len([key for key in shown if key[1] == 60 * S]) == 2 * BARS_RETAINED // 60
    assert len(market.showcase.rows) + len(market.live_bars_shown()) == len(shown)


def test_showcase_when_a_bar_was_seen_open_then_it_is_seen_closed_or_taken_down() -> None:
    rows = directory([f"S{i}" for i in range(20)])
    for i in range(20):
        rows += [trade(i, i, 2 * i + 1), beat(i)]
    rows += [trade(100 + i, i, 2 * i + 2) for i in range(20)]
    rows += [row(TickKind.BROKEN_TRADE, 200, instrument_id=3, aux_ref=m) for m in (7, 8)]
    shown, _ = shown_after([*rows, *(beat(S + i) for i in range(30))], limits=SMALL)
    one_second = {symbol: volume for (symbol, window_ns, _), volume in shown.items() if window_ns == S}
    assert one_second == {b"S%d" % i: 10 for i in range(20) if i != 3}


def test_showcase_when_a_session_begins_then_the_old_one_is_cleared_before_the_new_one_is_shown() -> None:
    first = directory(["A"])
    for second in range(20):
        first += [trade(second * S, 0, second + 1), beat(second * S + 1)]
    again = [row(TickKind.SYSTEM_EVENT, 0, instrument_id=-1, detail=ord("O")), trade(1, 0, 1)]
    again += [beat(2 + i) for i in range(10)]
    again += [trade(S, 0, 2), beat(S + 1), beat(2 * S), beat(2 * S + 1)]
    shown, _ = shown_after(first, again, limits=SMALL)
    assert {start for _, window_ns, start in shown if window_ns == S} == {SESSION_NS, SESSION_NS + S}


def test_apply_when_an_instrument_is_impossible_then_refused_before_any_change() -> None:
    market = MarketState()
    before = {name: array.tobytes() for name, array in market.arrays().items()}
    bad = tick_array([trade(1, 0, 1), row(TickKind.REG_SHO, instrument_id=-5)])
    with pytest.raises(ValueError, match="instrument ids"):
        market.apply(bad, 0)
    assert {name: array.tobytes() for name, array in market.arrays().items()} == before


def test_symbols_when_not_named_then_a_name_that_no_symbol_can_have() -> None:
    market = MarketState()
    marks = market.apply(tick_array([trade(1, 1, 1), beat(2)]), 0).beats[0].marks
    assert marks["symbol"].tolist() == [b"#1", b""]
    named = market.apply(tick_array([*directory(["A", "BRK.A"]), trade(3, 1, 2), beat(4)]), 0).beats[0].marks
    assert named["symbol"].tolist() == [b"BRK.A", b""]
    assert np.all(named["instrument_id"] == [1, -1])


def test_showcase_when_an_open_bar_and_the_next_one_are_issued_at_once_then_neither_is_taken_down() -> None:
    shown = Showcase([S], 10, 10)
    shown.admit(1)
    first, second = (np.zeros(1, BAR) for _ in range(2))
    first["window_ns"], second["window_ns"], second["window_start_ns"] = S, S, 2 * S
    first["window_start_ns"] = S
    shown.turn(S, np.zeros(1, np.int64), first, 10)
    shown.issued(np.concatenate((first, second)))
    turn = shown.turn(3 * S, np.zeros(1, np.int64), np.zeros(0, BAR), 10)
    assert (len(turn.gone), turn.closed["window_start_ns"].tolist()) == (0, [S, 2 * S])
