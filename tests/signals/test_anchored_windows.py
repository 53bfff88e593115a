"""Windows are aligned to the venue's midnight, which frames tell of their sessions: online as without Kafka."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from common.contracts.ticks import TickKind, Ticks
from common.contracts.topics import MD_EVENTS
from common.contracts.windows import NS
from common.testing.market_flow import SESSION_NS, directory, flows, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain import count
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import migrated
from signals.offline import OfflineMarket
from signals.venue_days import Sessions

from tests.signals.bar_referee import BarRow, ReferenceBars, plain
from tests.signals.session_flows import CUTS, after_restart, edges, sessions, trade
from tests.signals.test_quote_measures import MEASURES as QUOTES
from tests.signals.test_quote_measures import WINDOWS as QUOTED
from tests.signals.test_session_ends import DAY

HOUR = 3_600 * NS
TUMBLING, SLIDING = (NS, 7 * NS, 60 * NS, HOUR, DAY), ((10 * NS, 2 * NS), (300 * NS, 60 * NS))
ANCHORS = st.sampled_from((4 * HOUR, 5 * HOUR, 18 * HOUR + 1_800 * NS, 13 * HOUR + 17 * NS, DAY - NS))
"""Midnights in New York in summer and winter, in Kolkata, and times that fit none of the lengths."""


def created() -> MarketState:
    return MarketState(TUMBLING, slides_ns=SLIDING, gaps_ns=(10 * NS,))


def issued(market: MarketState, ticks: Ticks, cuts: Sequence[int], session_ns: int) -> list[BarRow]:
    rows = [market.apply(ticks[begin:end], 0, "itch", session_ns).bars for begin, end in edges(ticks, list(cuts))]
    return [bar for each in rows for bar in plain(each)]


def begin(at_ns: int) -> dict[str, int]:
    return row(TickKind.SYSTEM_EVENT, at_ns, instrument_id=-1, detail=ord("O"))


def days_of(rows: Any) -> list[tuple[int, int]]:
    """Start, in hours after SESSION_NS, and shares of the bars of a day."""
    days = rows[rows["window_ns"] == DAY]
    return list(zip(((days["window_start_ns"] - SESSION_NS) // HOUR).tolist(), days["volume"].tolist(), strict=True))


@settings(deadline=None, max_examples=100)
@given(sessions(), CUTS, ANCHORS)
def test_bars_when_a_feed_tells_of_its_midnight_then_those_of_the_referee_that_is_anchored_there(
    ticks: Ticks, cuts: list[int], anchor: int
) -> None:
    referee = ReferenceBars(tuple((length, length) for length in TUMBLING), anchor)
    referee.take(ticks)
    assert issued(MarketState(TUMBLING), ticks, cuts, SESSION_NS - DAY + anchor) == referee.issued


@settings(deadline=None, max_examples=60)
@given(sessions(), ANCHORS)
def test_sliding_bars_when_anchored_then_those_of_the_referee(ticks: Ticks, anchor: int) -> None:
    referee = ReferenceBars(SLIDING, anchor)
    referee.take(ticks)
    found = issued(MarketState((), slides_ns=SLIDING), ticks, (), SESSION_NS + anchor)
    assert sorted(found) == sorted(referee.issued)


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=120) | sessions(), st.integers(0, 10_000), ANCHORS)
def test_anchored_windows_when_killed_at_any_moment_then_every_byte_is_the_same(
    ticks: Ticks, cut: int, anchor: int
) -> None:
    cut %= len(ticks) + 1
    through, killed = created(), created()
    for state in (through, killed):
        state.apply(ticks[:cut], 0, "itch", SESSION_NS + anchor)
    restored = after_restart(killed, created)
    assert restored.bars.anchor_ns == anchor
    expected = through.apply(ticks[cut:], 0, "itch", SESSION_NS + anchor)
    found = restored.apply(ticks[cut:], 0, "itch", SESSION_NS + anchor)
    for rows in ("bars", "sessions", "late"):
        assert getattr(found, rows).tobytes() == getattr(expected, rows).tobytes()


@settings(deadline=None, max_examples=60)
@given(flows(disorder=True, size=120) | sessions(), CUTS, ANCHORS)
def test_anchored_windows_when_made_without_kafka_then_those_of_the_stage(
    ticks: Ticks, cuts: list[int], anchor: int
) -> None:
    numbered = ticks.copy()
    numbered["sequence"] = 1 + np.arange(len(ticks))
    midnight = np.array([SESSION_NS - DAY + anchor])
    alone = OfflineMarket(TUMBLING, sliding_ns=SLIDING, record_bbo=False, sessions=Sessions(midnight, midnight))
    rows = [rows.copy() for first, end in edges(ticks, cuts) for rows, _ in alone.apply(numbered[first:end])]
    online = MarketState(TUMBLING, slides_ns=SLIDING, lateness_ns=1 << 62)
    found = [bar for each in rows for bar in plain(each)]
    assert found == issued(online, numbered, (), int(midnight[0]))


@settings(deadline=None, max_examples=30)
@given(flows(size=150), st.integers(0, 10_000), ANCHORS)
def test_measures_of_quotes_when_anchored_then_those_of_a_clock_that_is_behind_by_it_after_a_restart_too(
    ticks: Ticks, cut: int, anchor: int
) -> None:
    cut %= len(ticks) + 1
    behind = ticks.copy()
    behind["event_ns"] -= anchor

    def quoting() -> MarketState:
        return MarketState(QUOTED, measures=QUOTES)

    expected = quoting().apply(behind, 0).quoted
    expected["window_start_ns"] += anchor
    market = quoting()
    rows = [market.apply(ticks[:cut], 0, "itch", SESSION_NS + anchor).quoted]
    rows.append(after_restart(market, quoting).apply(ticks[cut:], 0, "itch", SESSION_NS + anchor).quoted)
    assert np.concatenate(rows).tobytes() == expected.tobytes()


def test_day_when_the_clocks_are_put_back_between_sessions_then_each_is_of_its_own_midnight() -> None:
    summer, winter = 4 * HOUR, 28 * HOUR + HOUR
    market = MarketState((HOUR, DAY))
    ticks = tick_array([*directory(["A"]), begin(7 * HOUR), trade(13 * HOUR, 1), trade(27 * HOUR, 2)])
    rows = [market.apply(ticks, 0, "itch", SESSION_NS + summer).bars]
    again = tick_array([begin(31 * HOUR), trade(37 * HOUR, 4), trade(52 * HOUR, 8), row(TickKind.HEARTBEAT, 53 * HOUR)])
    rows.append(market.apply(again, 0, "itch", SESSION_NS + winter).bars)
    assert days_of(np.concatenate(rows)) == [(4, 3), (29, 12)]


def test_day_when_strangers_write_beside_a_feed_then_it_is_the_feeds() -> None:
    market = MarketState((HOUR, DAY))
    told = tick_array([*directory(["A"]), trade(3 * HOUR, 1)])
    rows = [market.apply(told, 0, MD_EVENTS.name, SESSION_NS).bars]
    assert market.bars.anchor_ns == 0
    ticks = tick_array([begin(7 * HOUR), trade(13 * HOUR, 2)])
    rows.append(market.apply(ticks, 0, "itch", SESSION_NS + 4 * HOUR).bars)
    late = tick_array([trade(14 * HOUR, 4), begin(14 * HOUR)])
    rows.append(market.apply(late, 0, MD_EVENTS.name, SESSION_NS).bars)
    assert market.bars.anchor_ns == 4 * HOUR
    later = tick_array([row(TickKind.HEARTBEAT, 29 * HOUR)])
    rows.append(market.apply(later, 10 * NS, "itch", SESSION_NS + 4 * HOUR).bars)  # strangers are idle by then
    assert days_of(np.concatenate(rows)) == [(0, 1), (4, 6)]


def test_day_when_a_snapshot_is_older_than_anchors_then_of_the_epoch_until_a_session_begins() -> None:
    before = MarketState((HOUR, DAY))
    before.apply(tick_array([*directory(["A"]), trade(3 * HOUR, 1)]), 0)
    arrays = {name: array.copy() for name, array in before.arrays().items()}
    arrays["bars.counters"] = arrays["bars.counters"][: count.ANCHOR_NS]
    after = MarketState((HOUR, DAY))
    after.restore(*migrated(arrays, before.declaration(), 9))
    rows = [after.apply(tick_array([trade(5 * HOUR, 2)]), 0, "itch", SESSION_NS + 4 * HOUR).bars]
    rows.append(after.apply(tick_array([begin(25 * HOUR)]), 0, "itch", SESSION_NS + 28 * HOUR).bars)
    last = tick_array([trade(26 * HOUR, 4), row(TickKind.HEARTBEAT, 29 * HOUR)])
    rows.append(after.apply(last, 0, "itch", SESSION_NS + 28 * HOUR).bars)
    assert days_of(np.concatenate(rows)) == [(0, 3), (4, 4)]
