"""Triggered windows: trades from one event of the market, or of the symbol, to the next, whatever comes late."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.books import Books
from common.books.layout import STOP_SESSION
from common.contracts.ticks import NO_INSTRUMENT, TickKind, Ticks
from common.contracts.windows import NS, Trigger, Window, triggers_of
from common.testing.market_flow import SESSION_NS, directory, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from signals.domain.market import MarketState
from signals.domain.phase_state import EDGES_MAX
from signals.offline import OfflineMarket, Wanted
from signals.settings import SignalsSettings

from tests.signals.session_flows import (
    CUTS,
    after_restart,
    batches,
    columns_of,
    numbered,
    run_through,
    sessions,
    through_and_killed,
    trade,
    written,
)
from tests.signals.trade_referee import Trade, TradeReferee, prices_and_sums

WINDOWS = tuple(Window(name) for name in ("on:open+close", "on:halt+resume", "on:open+close+halt+resume"))
MASKS = triggers_of(WINDOWS)
SESSION = "session"
LONG_NS = 1 << 62
Row = tuple[Any, ...]
"""window, begun by, ended by, start, end, open, high, low, close, volume, notional, instrument, trades, revision."""


class RefereeOfPhases(TradeReferee):
    """All windows anew after every event, by definition: the standing trades, parted at the edges around them."""

    def __init__(self, instruments: int) -> None:
        super().__init__()
        self.instruments = range(instruments)
        self.states: dict[int, int] = {}
        self.edges: dict[tuple[int, int], list[tuple[int, str]]] = {
            (mask, instrument): [(0, SESSION)] for mask in MASKS for instrument in self.instruments
        }
        self.told: dict[tuple[int, int, int], int] = {}
        self.rows: list[Row] = []

    def of(self, mask: int, instrument: int) -> dict[int, list[Trade]]:
        """Trades of each window, by its start."""
        starts = [at for at, _ in self.edges[mask, instrument]]
        found: dict[int, list[Trade]] = {at: [] for at in starts}
        for each in self.standing(instrument):
            found[max(at for at in starts if at <= each.event_ns)].append(each)
        return found

    def end_of(self, mask: int, instrument: int, start: int) -> tuple[int, str]:
        """When and by what a window ends: by itself, or with the session that it has begun in."""
        listed = self.edges[mask, instrument]
        following = next(((at, by) for at, by in listed if at > start), (LONG_NS, ""))
        ended = [(end, SESSION) for end in self.ends if end > start]
        return min([following, *ended], key=lambda one: one[0])

    def tell(self, mask: int, instrument: int, start: int, held: list[Trade]) -> None:
        key = (mask, instrument, start)
        revision = self.told.get(key, 0)
        self.told[key] = revision + 1
        numbers = prices_and_sums(held)
        (end, ended_by), begun_by = self.end_of(*key), dict(self.edges[mask, instrument])[start]
        name = next(window.name for window in WINDOWS if window.triggers == mask)
        end = 0 if end == LONG_NS else end
        self.rows.append((name, begun_by, ended_by, start, end, *numbers, instrument, len(held), revision))

    def settle(self, mask: int, instrument: int, before: dict[int, list[Trade]]) -> None:
        """Something has come of an instrument: what has changed and somebody knows of, or has ended, is told."""
        known = {t for start, held in before.items() if self.told.get((mask, instrument, start)) for t in held}
        for start, held in sorted(self.of(mask, instrument).items()):
            key = (mask, instrument, start)
            has_ended = self.end_of(*key)[0] <= self.clock_ns
            is_new = not self.told.get(key) and held and (has_ended or known & set(held))
            if is_new or (self.told.get(key) and held != before.get(start, [])):
                self.tell(*key, held)

    def advance(self, clock_ns: int, *, is_end: bool) -> None:
        self.clock_ns = max(self.clock_ns, clock_ns)
        if is_end:
            self.ends.append(clock_ns)
            for mask in MASKS:
                for instrument in self.instruments:
                    self.settle(mask, instrument, self.of(mask, instrument))

    def turn(self, at_ns: int, instrument: int, by: str) -> None:
        bit = 0 if by == SESSION else int(Trigger[by.upper()])
        for mask in MASKS:
            for each in self.instruments if instrument < 0 else [instrument]:
                listed = self.edges[mask, each]
                if (by == SESSION or mask & bit) and listed[0][0] < at_ns and at_ns not in dict(listed):
                    before = self.of(mask, each)
                    self.edges[mask, each] = sorted([*listed, (at_ns, by)])
                    self.settle(mask, each, before)

    def change(self, trade: Trade, *, is_break: bool) -> None:
        before = {mask: self.of(mask, trade.instrument) for mask in MASKS}
        self.keep(trade, is_break=is_break)
        for mask in MASKS:
            self.settle(mask, trade.instrument, before[mask])

    def say(self, tick: Any) -> None:
        """Triggers of a tick."""
        detail, instrument = chr(tick["detail"]), int(tick["instrument_id"])
        if tick["kind"] == TickKind.SYSTEM_EVENT and detail in "QM":
            self.turn(int(tick["event_ns"]), -1, {"Q": "open", "M": "close"}[detail])
        elif tick["kind"] == TickKind.TRADING_ACTION and instrument >= 0:
            traded = self.states.get(instrument, ord("T")) == ord("T")
            self.states[instrument] = ord(detail)
            if traded != (detail == "T"):
                self.turn(int(tick["event_ns"]), instrument, "halt" if traded else "resume")

    def follow(self, books: Books, tick: Any) -> None:
        if books.stop == STOP_SESSION:
            self.begin(int(tick["event_ns"]))
            books.begin_session(int(tick["event_ns"]))
            return
        super().follow(books, tick)
        self.say(tick)

    def begin(self, clock_ns: int) -> None:
        """A session begins, later than everything: the market's windows begin anew with it."""
        self.clock_ns = clock_ns
        self.states.clear()
        self.turn(clock_ns, -1, SESSION)


@st.composite
def phases(draw: st.DrawFn) -> Ticks:
    """Flows out of order, in which the market opens and closes, and symbols are halted, more often than in others."""
    ticks: Ticks = draw(sessions()).copy()
    luck = np.array(draw(st.lists(st.integers(0, 9), min_size=len(ticks), max_size=len(ticks))), np.int64)
    details = np.array([ord(each) for each in "QMTHTHPTQS"], np.uint8)[luck]
    orders = ticks["kind"] == TickKind.DELETE
    market = (orders & (luck < 4)) | (ticks["kind"] == TickKind.CANCEL)
    ticks["kind"][orders] = TickKind.TRADING_ACTION
    ticks["kind"][market], ticks["instrument_id"][market] = TickKind.SYSTEM_EVENT, NO_INSTRUMENT
    ticks["detail"][orders | market] = details[orders | market]
    ticks.flags.writeable = False
    return ticks


def created() -> MarketState:
    return MarketState((NS, 60 * NS), triggers=MASKS)


def plain(rows: Any) -> list[Row]:
    return columns_of(
        rows,
        *("window", "begun_by", "ended_by", "start_ns", "end_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
        *("volume", "notional_e4", "instrument_id", "trades", "revision"),
    )


def told(state: MarketState, ticks: Ticks, cuts: list[int]) -> list[Row]:
    return [each for batch in batches(state, ticks, cuts) for each in plain(batch.phases)]


@settings(deadline=None, max_examples=120)
@given(phases(), CUTS)
def test_phases_when_trades_and_triggers_come_late_and_days_end_then_those_of_the_referee_in_its_order(
    ticks: Ticks, cuts: list[int]
) -> None:
    referee = RefereeOfPhases(3)
    referee.take(ticks)
    assert told(created(), ticks, cuts) == referee.rows


@settings(deadline=None, max_examples=50)
@given(phases(), st.integers(0, 10_000))
def test_phases_when_killed_at_any_moment_then_every_byte_is_the_same(ticks: Ticks, cut: int) -> None:
    expected, found = through_and_killed(created, ticks, cut)
    assert found.phases.tobytes() == expected.phases.tobytes()
    assert found.bars.tobytes() == expected.bars.tobytes()


def _breaks_of_another_partition(ticks: Ticks) -> NDArray[np.bool_]:
    """Broken trades that name an instrument of one of two partitions, where one of the other has the match number.

    Without Kafka such a trade is found by its number, wherever it is. A stage has the trades of its own partition
    alone, and counts an unknown break.
    """
    numbers, owners, breaks = ticks["aux_ref"], ticks["instrument_id"] % 2, ticks["kind"] == TickKind.BROKEN_TRADE
    elsewhere = (numbers == numbers[:, None]) & (owners != owners[:, None]) & ~breaks
    found: NDArray[np.bool_] = breaks & elsewhere.any(axis=1)
    return found


@settings(deadline=None, max_examples=50)
@given(phases(), CUTS)
def test_phases_when_made_without_kafka_then_those_of_each_partition(ticks: Ticks, cuts: list[int]) -> None:
    alone = OfflineMarket((NS, 60 * NS), triggers=MASKS, record_bbo=False, partitions=2)
    ticks = numbered(ticks[~_breaks_of_another_partition(ticks)])
    run_through(alone, ticks, cuts)
    alone.close()
    found, owners = alone.phases.taken(), ticks["instrument_id"] % 2
    for partition in range(2):
        online = MarketState((NS, 60 * NS), triggers=MASKS, lateness_ns=LONG_NS)
        mine = ticks[(owners == partition) | (ticks["instrument_id"] < 0)]
        expected = told(online, mine, [])
        own = plain(found[found["instrument_id"] % 2 == partition])
        assert own[: len(expected)] == expected
        assert all(each[2] == "" and each[-1] == 0 for each in own[len(expected) :]), "what goes on at the end of data"


@settings(deadline=None, max_examples=40)
@given(phases(), CUTS)
def test_phases_when_kept_beside_session_windows_then_both_are_as_alone(ticks: Ticks, cuts: list[int]) -> None:
    both = MarketState((NS, 60 * NS), triggers=MASKS, gaps_ns=(10 * NS,))
    gaps = MarketState((NS, 60 * NS), gaps_ns=(10 * NS,))
    found, expected = batches(both, ticks, cuts), batches(gaps, ticks, cuts)
    assert [each for one in found for each in plain(one.phases)] == told(created(), ticks, cuts)
    for name in ("sessions", "bars", "late"):
        assert [getattr(one, name).tobytes() for one in found] == [getattr(one, name).tobytes() for one in expected]


def action(at_ns: int, state: str, instrument: int = 0) -> dict[str, int]:
    return row(TickKind.TRADING_ACTION, at_ns, instrument_id=instrument, detail=ord(state))


def event(at_ns: int, code: str) -> dict[str, int]:
    return row(TickKind.SYSTEM_EVENT, at_ns, instrument_id=NO_INSTRUMENT, detail=ord(code))


def brief(rows: Any) -> list[tuple[Any, ...]]:
    """Begun by, ended by, start and end in seconds, shares, revision."""
    at = [((rows[name] - np.where(rows[name] > 0, SESSION_NS, 0)) // NS).tolist() for name in ("start_ns", "end_ns")]
    begun_by, ended_by, *rest = zip(*columns_of(rows, "begun_by", "ended_by", "volume", "revision"), strict=True)
    return list(zip(begun_by, ended_by, *at, *rest, strict=True))


def every_phase() -> MarketState:
    return MarketState((NS,), triggers=triggers_of([Window("on:open+close+halt+resume")]))


DAY = (
    *(*directory(["A"]), event(0, "O"), trade(NS, 1), event(2 * NS, "Q"), trade(3 * NS, 2), action(4 * NS, "H")),
    *(action(5 * NS, "Q"), trade(6 * NS, 4), action(6 * NS, "T"), trade(7 * NS, 8), event(8 * NS, "M")),
)


def test_day_when_the_symbol_is_halted_in_it_then_a_row_for_each_phase_with_what_began_and_ended_it() -> None:
    rows = every_phase().apply(tick_array([*DAY, trade(9 * NS, 16), event(10 * NS, "O")]), 0).phases
    assert brief(rows) == [
        ("session", "open", 0, 2, 1, 0),
        ("open", "halt", 2, 4, 2, 0),
        ("resume", "close", 6, 8, 12, 0),
        ("close", "session", 8, 10, 16, 0),
    ]


def test_trade_when_it_came_before_a_trigger_of_its_time_then_it_is_of_the_window_that_begins_there() -> None:
    state = every_phase()
    state.apply(tick_array([*directory(["A"]), event(0, "O"), trade(NS, 1), trade(2 * NS, 2)]), 0)
    rows = state.apply(tick_array([event(2 * NS, "Q"), event(3 * NS, "M")]), 0).phases
    assert brief(rows) == [("session", "open", 0, 2, 1, 0), ("open", "close", 2, 3, 2, 0)]


def test_late_trade_and_broken_trade_of_an_ended_phase_then_it_is_issued_again() -> None:
    state = every_phase()
    state.apply(tick_array(DAY), 0)
    broken = row(TickKind.BROKEN_TRADE, 9 * NS, instrument_id=0, aux_ref=2)
    rows = state.apply(tick_array([trade(3 * NS, 32), broken]), 0).phases
    assert brief(rows) == [("open", "halt", 2, 4, 34, 1), ("open", "halt", 2, 4, 32, 2)]


def test_symbol_when_it_is_listed_after_the_open_then_its_window_begins_at_the_open() -> None:
    state = every_phase()
    state.apply(tick_array([*directory(["A"]), event(2 * NS, "Q")]), 0)
    late = row(TickKind.STOCK_DIRECTORY, 3 * NS, instrument_id=4, order_ref=0x42)
    rows = state.apply(tick_array([late, trade(4 * NS, 1, instrument=4), event(5 * NS, "M")]), 0).phases
    assert brief(rows) == [("open", "close", 2, 5, 1, 0)]


def test_window_when_added_by_a_restart_then_it_begins_with_the_next_trigger() -> None:
    before = MarketState((NS,))
    before.apply(tick_array([*directory(["A"]), trade(NS, 1)]), 0)
    after = after_restart(before, every_phase)
    rows = after.apply(tick_array([trade(2 * NS, 2), event(3 * NS, "Q"), trade(4 * NS, 4), event(5 * NS, "M")]), 0)
    assert brief(rows.phases) == [("open", "close", 3, 5, 4, 0)]


def test_edges_when_there_are_more_than_are_remembered_then_the_newest_are_and_older_trades_are_counted() -> None:
    state = every_phase()
    turns = [action((2 + i) * NS, "HT"[i % 2]) for i in range(EDGES_MAX)]
    rows = state.apply(tick_array([*directory(["A"]), trade(NS, 1), *turns, trade(40 * NS, 2)]), 0).phases
    assert len(rows) == 1
    state.apply(tick_array([trade(NS, 4)]), 0)
    assert state.anomalies()["lost_restatement"] == 1
    assert brief(state.apply(tick_array([action(50 * NS, "H")]), 0).phases) == [("resume", "halt", 33, 50, 2, 0)]


def test_phases_when_written_without_kafka_then_a_table_of_them(tmp_path: Path) -> None:
    wanted = Wanted((NS,), triggers=triggers_of([Window("on:open+close")]), partitions=1)
    columns = ("symbol", "window", "begun_by", "ended_by", "volume", "revision")
    assert written(tmp_path, [*DAY, trade(9 * NS, 16)], wanted, "phases.csv", columns) == [
        ("A", "on:open+close", "session", "open", "1", "0"),
        ("A", "on:open+close", "open", "close", "14", "0"),
        ("A", "on:open+close", "close", "", "16", "0"),
    ]


def test_triggered_windows_of_a_deployment_when_not_in_the_table_then_refused() -> None:
    assert SignalsSettings(windows=["on:open+close"]).optional_windows == (Window("on:open+close"),)
    with pytest.raises(ValueError, match="on:halt"):
        SignalsSettings(windows=["on:halt"])
