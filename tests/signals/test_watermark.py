"""Each feed has a bound by which it may be out of order; the watermark is the least of those that are waited for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from common.contracts.ticks import TICK, TickFlag, TickKind, Ticks, heartbeat
from common.contracts.topics import MD_EVENTS
from common.testing.market_flow import SESSION_NS, directory, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain import count, market
from signals.domain.market import MarketState
from signals.domain.watermark import FeedBounds, Watermark

from tests.signals.session_flows import after_restart
from tests.signals.test_accounts import final, trades_within

S = 1_000_000_000
BOUND_NS, IDLE_NS = 5 * S, 3 * S
BOUNDS = FeedBounds({"loose": BOUND_NS}, IDLE_NS)
FEEDS = ("strict", "loose", "other")
LISTED = tick_array(directory(["A", "B", "C"]))


class Frame(NamedTuple):
    """As it stands in the log."""

    feed: str
    ingest_ns: int
    ticks: Ticks


def created() -> MarketState:
    return MarketState((S, 60 * S), ((10 * S, 2 * S),), bounds=BOUNDS)


def issued(state: MarketState, frames: Sequence[Frame]) -> list[Any]:
    return [state.apply(frame.ticks, frame.ingest_ns, frame.feed) for frame in frames]


def bars_of(effects: Sequence[Any]) -> bytes:
    return b"".join(effect.bars.tobytes() for effect in effects)


@st.composite
def within_bound(draw: st.DrawFn) -> tuple[list[Frame], list[Frame]]:
    """Trades of a feed in order, and each delayed by less than the bound; both cut anywhere."""
    trades = trades_within(draw, 2 * S)
    delays = draw(st.lists(st.integers(0, BOUND_NS - 1), min_size=len(trades), max_size=len(trades)))
    late = trades[np.argsort(trades["event_ns"] + np.array(delays), kind="stable")]
    closing = tick_array([row(TickKind.HEARTBEAT, 100_000 * S, instrument_id=-1)])
    found = []
    for ticks in (trades, late):
        cuts = sorted(cut % (len(ticks) + 1) for cut in draw(st.lists(st.integers(0, 10_000), max_size=6)))
        parts = [ticks[begin:end] for begin, end in pairwise([0, *cuts, len(ticks)]) if begin < end]
        found.append([Frame("loose", at, part) for at, part in enumerate([LISTED, *parts, closing])])
    return found[0], found[1]


@settings(deadline=None, max_examples=120)
@given(within_bound())
def test_bars_when_a_feed_is_out_of_order_within_its_bound_then_every_byte_is_that_of_the_sorted_feed(
    frames: tuple[list[Frame], list[Frame]],
) -> None:
    in_order, delayed = created(), created()
    expected, found = issued(in_order, frames[0]), issued(delayed, frames[1])
    assert bars_of(found) == bars_of(expected)
    assert not any(bar["revision"] for effect in found for bar in effect.bars)
    assert delayed.accounts() == in_order.accounts()
    assert delayed.accounts()["late"] == delayed.anomalies()["late_trade"] == len(delayed.held) == 0


@st.composite
def of_several_feeds(draw: st.DrawFn) -> list[Frame]:
    """Frames of three feeds whose times, and whose wall clocks, are apart by more or less than what is waited for."""
    waits = st.tuples(st.sampled_from(FEEDS), st.integers(0, 2 * S), st.integers(0, 5), st.integers(0, 9))
    frames, ingest_ns, matches = [Frame("strict", 0, LISTED)], 0, 0
    event_ns = dict.fromkeys(FEEDS, SESSION_NS)
    for feed, wait_ns, size, luck in draw(st.lists(waits, min_size=1, max_size=25)):
        ingest_ns += wait_ns
        trades = np.zeros(size, TICK)
        trades["kind"], trades["flags"] = TickKind.TRADE, TickFlag.PRINTABLE
        for trade in trades:
            matches += 1
            event_ns[feed] += draw(st.integers(-3 * S, 4 * S))
            trade["event_ns"], trade["aux_ref"] = event_ns[feed], matches
            trade["instrument_id"], trade["price_e4"], trade["qty"] = matches % 3, price(matches % 7), matches
        beat = heartbeat(event_ns[feed], ends_session=luck == 0)
        ticks = np.concatenate((trades, beat)) if luck < 4 or not size else trades
        ticks.flags.writeable = False
        frames.append(Frame(feed, ingest_ns, ticks))
    return frames


class RefereeOfTime:
    """The watermark after each frame, from all frames until then."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.after: list[int] = []
        reached, clock = 0, 0
        for size in range(1, len(frames) + 1):
            past, last = frames[:size], frames[size - 1]
            clock = self._clock(clock, last)
            ends = self._ends_session(last)
            waited = [feed for feed in FEEDS if self._is_waited_for(feed, past)]
            times = [self._newest(feed, past) - BOUNDS.bounds_ns.get(feed, 0) for feed in waited]
            reached = clock if ends else max(reached, min([clock, *times]))
            self.after.append(reached)

    @staticmethod
    def _ends_session(frame: Frame) -> bool:
        return bool(frame.ticks["flags"][-1] & TickFlag.SESSION_END and frame.ticks["kind"][-1] == TickKind.HEARTBEAT)

    def _clock(self, clock: int, frame: Frame) -> int:
        ticks = frame.ticks
        if self._ends_session(frame):
            before: int = max([clock, *ticks["event_ns"][:-1].tolist()])
            return max(before + 1, int(ticks["event_ns"][-1]))
        newest: int = max(clock, int(ticks["event_ns"].max()))
        return newest

    @staticmethod
    def _newest(feed: str, past: Sequence[Frame]) -> int:
        return max((int(frame.ticks["event_ns"].max()) for frame in past if frame.feed == feed), default=0)

    def _is_waited_for(self, feed: str, past: Sequence[Frame]) -> bool:
        own = [(place, frame) for place, frame in enumerate(past) if frame.feed == feed]
        if not own or max(frame.ingest_ns for frame in past) - own[-1][1].ingest_ns > IDLE_NS:
            return False
        clock, ended = 0, -1
        for frame in past:
            clock = self._clock(clock, frame)
            if frame.feed == feed and self._ends_session(frame):
                ended = clock
        return self._newest(feed, past) > ended


@settings(deadline=None, max_examples=150)
@given(of_several_feeds())
def test_watermark_of_several_feeds_then_the_referees_and_no_bar_is_issued_before_or_after_it(
    frames: list[Frame],
) -> None:
    state = created()
    ends: list[int] = []
    for frame, reached_ns in zip(frames, RefereeOfTime(frames).after, strict=True):
        (effects,) = issued(state, [frame])
        assert state.watermark.ns == reached_ns
        ends += [reached_ns] if RefereeOfTime._ends_session(frame) else []
        for bar in effects.bars[effects.bars["revision"] == 0].tolist():
            end = bar[1] + bar[2]
            closed = min([end, *(at for at in ends if bar[1] < at < end)])
            assert closed <= reached_ns
        assert int(state.bars.counters[count.DUE_NS]) > reached_ns


@settings(deadline=None, max_examples=60)
@given(of_several_feeds())
def test_bars_of_several_feeds_then_they_end_as_those_of_all_trades_in_order_and_each_trade_is_accounted_for(
    frames: list[Frame],
) -> None:
    closing = [Frame("strict", 10**6 * S, tick_array([row(TickKind.HEARTBEAT, 10**6 * S, instrument_id=-1)]))]
    state, in_order = MarketState((S,), lateness_ns=1 << 60, bounds=BOUNDS), MarketState((S,), lateness_ns=1 << 60)
    found = issued(state, [*frames, *closing])
    trades = np.concatenate([frame.ticks[frame.ticks["kind"] == TickKind.TRADE] for frame in frames])
    trades = trades[np.argsort(trades["event_ns"], kind="stable")]
    expected = issued(in_order, [frames[0], Frame("", 0, trades)] if len(trades) else frames[:1])
    expected += issued(in_order, closing)
    assert {key: bar[:6] for key, bar in final(found).items()} == {key: bar[:6] for key, bar in final(expected).items()}
    assert state.accounts() == {"windowed": len(trades), "late": 0, "rejected": 0}
    assert len(state.held) == 0


@settings(deadline=None, max_examples=60)
@given(of_several_feeds(), st.integers(0, 10_000))
def test_bars_of_several_feeds_when_killed_at_any_frame_then_every_byte_is_the_same(
    frames: list[Frame], cut: int
) -> None:
    cut %= len(frames) + 1
    through, killed = created(), created()
    for state in (through, killed):
        issued(state, frames[:cut])
    restored = after_restart(killed, created)
    assert bars_of(issued(restored, frames[cut:])) == bars_of(issued(through, frames[cut:]))
    assert restored.watermark.arrays()["counters"].tolist() == through.watermark.arrays()["counters"].tolist()
    assert restored.watermark.arrays()["feeds"].tobytes() == through.watermark.arrays()["feeds"].tobytes()


def trade(at_ns: int, match: int) -> dict[str, int]:
    return row(TickKind.TRADE, at_ns, instrument_id=0, aux_ref=match, price_e4=price(1), qty=5)


def test_broken_trade_of_an_unordered_feed_when_its_time_is_before_the_trades_then_the_trade_counts_nowhere() -> None:
    state = created()
    broken = row(TickKind.BROKEN_TRADE, 7 * S, instrument_id=0, aux_ref=1)
    beat = row(TickKind.HEARTBEAT, 99 * S, instrument_id=-1)
    frames = [LISTED, tick_array([trade(8 * S, 1), broken, trade(9 * S, 2)]), tick_array([beat])]
    effects = issued(state, [Frame("loose", 0, ticks) for ticks in frames])
    assert {bar["volume"] for effect in effects for bar in effect.bars} == {5}
    assert state.anomalies()["unknown_break"] == 0


def test_feed_that_stands_still_then_the_others_wait_for_it_until_it_is_idle_or_there_is_no_more_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = created()
    issued(state, [Frame("strict", 0, LISTED), Frame("other", 0, tick_array([trade(1 * S, 1)]))])
    issued(state, [Frame("strict", IDLE_NS, tick_array([trade(20 * S, 2), trade(21 * S, 3)]))])
    assert (state.watermark.ns, len(state.held.arrays()["prints"])) == (SESSION_NS + S, 2)
    issued(state, [Frame("strict", IDLE_NS + 1, tick_array([trade(22 * S, 4)]))])
    assert (state.watermark.ns, len(state.held)) == (SESSION_NS + 22 * S, 0)
    monkeypatch.setattr(market, "HELD_MAX", 2)
    issued(state, [Frame("other", IDLE_NS + 1, tick_array([trade(2 * S, 5)]))])
    issued(state, [Frame("strict", IDLE_NS + 1, tick_array([trade((23 + i) * S, 6 + i) for i in range(9)]))])
    assert (state.watermark.ns, len(state.held)) == (SESSION_NS + 31 * S, 0)
    assert state.anomalies()["watermark_forced"] == 1


def test_lag_then_how_long_nothing_was_heard_and_how_far_the_slowest_feed_is_behind() -> None:
    watermark = Watermark(BOUNDS)
    assert watermark.lag_ns(99 * S) == 0
    for feed, newest_ns in (("loose", 28 * S), ("strict", 30 * S)):
        watermark.hear(feed, 100 * S, 0)
        watermark.reach(newest_ns, 30 * S)
    assert watermark.ns == 28 * S - BOUND_NS
    assert watermark.lag_ns(100 * S) == 2 * S  # and not the bound
    assert watermark.lag_ns(107 * S) == 9 * S
    for feed in ("strict", "loose"):
        watermark.hear(feed, 100 * S, 0)
        watermark.pass_all(30 * S)
        watermark.end_session()
    assert watermark.lag_ns(999 * S) == 0


def test_lag_of_a_feed_that_promises_no_heartbeats_then_its_silence_counts_for_nothing() -> None:
    watermark = Watermark(FeedBounds())
    watermark.hear(MD_EVENTS.name, 100 * S, 0)
    watermark.reach(30 * S, 30 * S)
    assert watermark.lag_ns(999 * S) == 0
