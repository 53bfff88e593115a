"""Session windows: trades of a symbol that are less than a gap apart, whatever comes late, is broken or killed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickKind, Ticks
from common.contracts.windows import Window
from common.testing.market_flow import SESSION_NS, directory, flows, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.market import MarketState
from signals.offline import OfflineMarket, Wanted
from signals.settings import SignalsSettings

from tests.signals.session_flows import (
    CUTS,
    after_restart,
    batches,
    beat,
    columns_of,
    numbered,
    run_through,
    sessions,
    through_and_killed,
    trade,
    written,
)
from tests.signals.trade_referee import Trade, TradeReferee, prices_and_sums

S = 1_000_000_000
GAPS = (S, 10 * S, 45 * S)
Row = tuple[int, ...]
"""gap, start, end, into, open, high, low, close, volume, notional, instrument, trades, revision."""


class RefereeOfSessions(TradeReferee):
    """All sessions anew after every event, by definition: the standing trades in order, cut where a gap is."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[tuple[int, int, int], int] = {}
        self.rows: list[Row] = []

    def of(self, gap: int, instrument: int) -> list[list[Trade]]:
        found: list[list[Trade]] = []
        for each in self.standing(instrument):
            if found and each.event_ns - found[-1][-1].event_ns < gap:
                found[-1].append(each)
            else:
                found.append([each])
        return found

    def end_of(self, gap: int, held: list[Trade]) -> int:
        end = held[-1].event_ns + gap
        return min([end, *(at for at in self.ends if held[0].event_ns < at < end)])

    def tell(self, gap: int, instrument: int, start: int, held: list[Trade], into: int) -> None:
        key = (gap, instrument, start)
        revision = self.told.get(key, 0)
        self.told[key] = revision + 1
        end = held[-1].event_ns + gap if held else start
        self.rows.append((gap, start, end, into, *prices_and_sums(held), instrument, len(held), revision))

    def advance(self, clock_ns: int, *, is_end: bool) -> None:
        if clock_ns <= self.clock_ns:
            return
        if is_end:
            self.ends.append(clock_ns)
        due = []
        for place, gap in enumerate(GAPS):
            for instrument in {t.instrument for t in self.trades}:
                for held in self.of(gap, instrument):
                    start, end = held[0].event_ns, self.end_of(gap, held)
                    if end <= clock_ns and not self.told.get((gap, instrument, start)):
                        due.append((end, place, instrument, gap, held))
        for _, _, instrument, gap, held in sorted(due, key=lambda one: one[:3]):
            self.tell(gap, instrument, held[0].event_ns, held, 0)
        self.clock_ns = clock_ns

    def change(self, trade: Trade, *, is_break: bool) -> None:
        before = {gap: self.of(gap, trade.instrument) for gap in GAPS}
        self.keep(trade, is_break=is_break)
        for gap in GAPS:
            instrument, after = trade.instrument, self.of(gap, trade.instrument)
            known = {t for held in before[gap] if self.told.get((gap, instrument, held[0].event_ns)) for t in held}
            starts = {held[0].event_ns for held in after}
            for held in before[gap]:
                start = held[0].event_ns
                if start not in starts and self.told.get((gap, instrument, start)):
                    into = next((h[0].event_ns for h in after if set(h) & set(held)), 0)
                    self.tell(gap, instrument, start, [], into)
            for held in after:
                if held in before[gap]:
                    continue
                start = held[0].event_ns
                is_known = bool(known & set(held)) or bool(self.told.get((gap, instrument, start)))
                if is_known or self.end_of(gap, held) <= self.clock_ns:
                    self.tell(gap, instrument, start, held, 0)


def created() -> MarketState:
    return MarketState((S, 60 * S), gaps_ns=GAPS)


def told(state: MarketState, ticks: Ticks, cuts: list[int]) -> list[Row]:
    return [each for batch in batches(state, ticks, cuts) for each in plain(batch.sessions)]


def plain(rows: Any) -> list[Row]:
    return columns_of(
        rows,
        *("gap_ns", "start_ns", "end_ns", "into_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
        *("volume", "notional_e4", "instrument_id", "trades", "revision"),
    )


@settings(deadline=None, max_examples=80)
@given(flows(disorder=True, size=120) | sessions(), CUTS)
def test_sessions_when_trades_come_late_are_broken_and_days_end_then_those_of_the_referee_in_its_order(
    ticks: Ticks, cuts: list[int]
) -> None:
    referee = RefereeOfSessions()
    referee.take(ticks)
    assert told(created(), ticks, cuts) == referee.rows


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=120) | sessions(), st.integers(0, 10_000))
def test_sessions_when_killed_at_any_moment_then_every_byte_is_the_same(ticks: Ticks, cut: int) -> None:
    expected, found = through_and_killed(created, ticks, cut)
    assert found.sessions.tobytes() == expected.sessions.tobytes()
    assert found.bars.tobytes() == expected.bars.tobytes()


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=120) | sessions(), CUTS)
def test_sessions_when_made_without_kafka_then_those_of_the_stage(ticks: Ticks, cuts: list[int]) -> None:
    offline, ticks = OfflineMarket((S, 60 * S), gaps_ns=GAPS, record_bbo=False), numbered(ticks)
    run_through(offline, ticks, cuts)
    online = MarketState((S, 60 * S), gaps_ns=GAPS, lateness_ns=1 << 62)
    assert plain(offline.gaps.taken()) == told(online, ticks, [])


def brief(rows: Any) -> list[tuple[int, ...]]:
    """Start and end in seconds, into which it went, shares, revision."""
    at = [rows[name] - np.where(rows[name] > 0, SESSION_NS, 0) for name in ("start_ns", "end_ns", "into_ns")]
    columns = [*(column // S for column in at), rows["volume"], rows["revision"]]
    return [tuple(values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def test_sessions_when_written_without_kafka_then_a_table_of_them(tmp_path: Path) -> None:
    rows = [*directory(["A"]), trade(1 * S, 1), trade(15 * S, 2), beat(50 * S), trade(8 * S, 4)]
    wanted = Wanted((S,), gaps_ns=(10 * S,), partitions=1)
    told = written(tmp_path, rows, wanted, "sessions.csv", ("symbol", "volume", "revision"))
    assert told == [("A", "1", "0"), ("A", "2", "0"), ("A", "0", "1"), ("A", "7", "1")]


def test_windows_of_a_deployment_when_not_in_the_table_then_refused() -> None:
    assert SignalsSettings(windows=["gap:30s"]).optional_windows == (Window("gap:30s"),)
    with pytest.raises(ValueError, match="gap:31s"):
        SignalsSettings(windows=["gap:31s"])


def test_session_windows_when_added_by_a_restart_then_what_is_open_goes_on_whole() -> None:
    before = MarketState((S,))
    before.apply(tick_array([*directory(["A"]), trade(1 * S, 1), trade(30 * S, 2), trade(35 * S, 4)]), 0)
    after = after_restart(before, lambda: MarketState((S,), gaps_ns=(10 * S,)))
    assert brief(after.apply(tick_array([trade(40 * S, 8), beat(99 * S)]), 0).sessions) == [(30, 50, 0, 14, 0)]


def test_late_trade_when_it_bridges_two_sessions_then_one_is_restated_and_the_other_says_into_which_it_went() -> None:
    state = MarketState((S,), gaps_ns=(10 * S,))
    rows = [*directory(["A"]), trade(1 * S, 1), trade(15 * S, 2), beat(50 * S), trade(8 * S, 4)]
    assert brief(state.apply(tick_array(rows), 0).sessions) == [
        *((1, 11, 0, 1, 0), (15, 25, 0, 2, 0)),
        *((15, 15, 1, 0, 1), (1, 25, 0, 7, 1)),
    ]
    broken = row(TickKind.BROKEN_TRADE, 51 * S, instrument_id=0, aux_ref=4)
    assert brief(state.apply(tick_array([broken]), 0).sessions) == [(1, 11, 0, 1, 2), (15, 25, 0, 2, 2)]


def test_late_trade_when_an_ended_session_goes_on_by_it_then_told_at_once_and_with_each_trade_more() -> None:
    state = MarketState((S,), gaps_ns=(10 * S,))
    rows = [*directory(["A"]), trade(1 * S, 1), beat(12 * S), trade(9 * S, 2), trade(13 * S, 4), beat(99 * S)]
    assert brief(state.apply(tick_array(rows), 0).sessions) == [(1, 11, 0, 1, 0), (1, 19, 0, 3, 1), (1, 23, 0, 7, 2)]
