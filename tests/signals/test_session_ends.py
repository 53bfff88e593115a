"""Windows of any length end with the session that they have begun in, and what comes after it is not late for it."""

from collections import defaultdict
from typing import Any

import numpy as np
from common.books import Books
from common.books.layout import STOP_SESSION_END
from common.contracts.alerts import AlertLimits
from common.contracts.ticks import TickFlag, TickKind, Ticks
from common.contracts.windows import closing_time_ns, lengths_ns
from common.testing.market_flow import SESSION_NS, directory, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain import count
from signals.domain.market import MarketState
from signals.domain.session_ends import ENDS_MAX
from signals.offline import OfflineMarket

from tests.signals.bar_referee import BarRow, ReferenceBars, plain
from tests.signals.session_flows import CUTS, after_restart, batches, edges, numbered, sessions
from tests.signals.test_quote_measures import WINDOWS as QUOTED
from tests.signals.test_quote_measures import numbers_of, of_window, offline

S = 1_000_000_000
DAY = 86_400 * S
TUMBLING = (S, 7 * S, 60 * S, 300 * S, DAY)
"""One of them is fed by none of the others but the first; the day outlasts every flow."""
SLIDING = ((10 * S, 2 * S), (300 * S, 60 * S))
Issued = dict[tuple[int, ...], list[BarRow]]


def issued(market: MarketState, ticks: Ticks, cuts: list[int]) -> list[BarRow]:
    return [bar for batch in batches(market, ticks, cuts) for bar in plain(batch.bars)]


def by_window(bars: list[BarRow]) -> Issued:
    """Revisions of each bar, in their order."""
    found: Issued = defaultdict(list)
    for bar in bars:
        found[bar[:3]].append(bar)
    return found


@settings(deadline=None, max_examples=100)
@given(sessions(), CUTS)
def test_bars_when_sessions_end_in_the_midst_then_those_of_the_referee_in_its_order(
    ticks: Ticks, cuts: list[int]
) -> None:
    referee = ReferenceBars(tuple((length, length) for length in TUMBLING))
    referee.take(ticks)
    market = MarketState(TUMBLING)
    assert issued(market, ticks, cuts) == referee.issued
    for bar in plain(market.bars.open_bars(np.arange(3))):
        assert referee.closed_at(*bar[:2]) > referee.clock_ns
        assert bar[3:-1] == referee.fold(*bar[:3])


@settings(deadline=None, max_examples=60)
@given(sessions(), CUTS)
def test_sliding_bars_when_sessions_end_in_the_midst_then_those_of_the_referee(ticks: Ticks, cuts: list[int]) -> None:
    referee = ReferenceBars((*((length, length) for length in TUMBLING), *SLIDING))
    referee.take(ticks)
    assert by_window(issued(MarketState(TUMBLING, SLIDING), ticks, cuts)) == by_window(referee.issued)


@settings(deadline=None, max_examples=60)
@given(sessions(), st.integers(0, 10_000))
def test_bars_when_killed_at_any_moment_then_every_byte_is_the_same_and_so_is_that_of_an_added_window(
    ticks: Ticks, cut: int
) -> None:
    cut %= len(ticks) + 1

    def create() -> MarketState:
        return MarketState(TUMBLING, SLIDING)

    through, killed, fewer = create(), create(), MarketState((S, 60 * S))
    for market in (through, killed, fewer):
        market.apply(ticks[:cut], 0)
    expected = through.apply(ticks[cut:], 0).bars.tobytes()
    for before in (killed, fewer):
        restored = after_restart(before, create)
        assert restored.apply(ticks[cut:], 0).bars.tobytes() == expected
        assert restored.accounts() == through.accounts()


@settings(deadline=None, max_examples=60)
@given(sessions(), CUTS)
def test_bars_when_made_without_kafka_then_those_of_the_stage(ticks: Ticks, cuts: list[int]) -> None:
    offline, ticks = OfflineMarket(TUMBLING, sliding_ns=SLIDING, record_bbo=False), numbered(ticks)
    rows = [rows.copy() for begin, end in edges(ticks, cuts) for rows, _ in offline.apply(ticks[begin:end])]
    online = MarketState(TUMBLING, SLIDING, lateness_ns=1 << 62)
    assert plain(np.concatenate(rows)) == issued(online, ticks, [])


def ends_of(ticks: Ticks) -> list[int]:
    """Clocks of the ends of sessions."""
    books = Books()
    books.admit(ticks)
    found, at = [], 0
    while at < len(ticks):
        at = books.apply(ticks, at)
        if books.stop == STOP_SESSION_END:
            found.append(books.clock_ns)
    return found


@settings(deadline=None, max_examples=30)
@given(sessions(), CUTS)
def test_measures_of_quotes_when_sessions_end_in_the_midst_then_equal_to_numpy(ticks: Ticks, cuts: list[int]) -> None:
    rows, changes = offline(ticks, cuts)
    ends, expected = ends_of(ticks), {}
    for instrument in np.unique(changes["instrument_id"]).tolist():
        own = changes[changes["instrument_id"] == instrument]
        quotes = np.concatenate((np.zeros(1, own.dtype), own))
        for length in QUOTED:
            for clock_ns in own["clock_ns"].tolist():
                start = clock_ns // length * length
                closed_ns = min([start + length, *(end for end in ends if end > start)])
                if clock_ns < closed_ns:
                    expected[length, start, instrument] = of_window(quotes, start, closed_ns - start)
    assert numbers_of(rows) == expected


def trade(at_ns: int, match: int, instrument: int = 0) -> dict[str, int]:
    return row(TickKind.TRADE, at_ns, instrument_id=instrument, aux_ref=match, price_e4=price(1), qty=5)


def end(last_ns: int) -> dict[str, int]:
    """The heartbeat that ends a session whose last event was then."""
    at_ns = closing_time_ns(SESSION_NS + last_ns) - SESSION_NS
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1, flags=TickFlag.SESSION_END)


def told(market: MarketState, *rows: dict[str, int]) -> Any:
    return market.apply(tick_array([*rows]), 0)


def test_session_when_it_ends_then_every_window_of_the_table_has_its_bar_and_the_clock_is_near() -> None:
    market = MarketState(trades_max=1 << 12)
    bars = told(market, *directory(["A"]), trade(3 * S, 1), end(3 * S)).bars
    assert bars["window_ns"].tolist() == list(lengths_ns())
    assert market.books.clock_ns == SESSION_NS + 5 * S
    assert len(market.bars.open_bars(np.arange(1))) == 0


def test_session_when_another_follows_on_the_same_day_then_nothing_is_late_and_the_day_is_issued_again() -> None:
    market = MarketState((S, DAY))
    told(market, *directory(["A"]), trade(3 * S, 1), end(3 * S))
    opening = row(TickKind.SYSTEM_EVENT, 3_600 * S, instrument_id=-1, detail=ord("O"))
    effects = told(market, opening, trade(3_601 * S, 1), trade(3_602 * S, 2), end(3_602 * S))
    days = effects.bars[effects.bars["window_ns"] == DAY]
    assert days[["volume", "revision"]].tolist() == [(10, 1), (15, 2)]
    seconds = effects.bars[effects.bars["window_ns"] == S]
    assert seconds[["volume", "revision"]].tolist() == [(5, 0), (5, 0)]
    assert market.accounts() == {"windowed": 3, "late": 0, "rejected": 0}


def test_session_when_the_next_is_of_another_day_then_its_bars_are_its_own() -> None:
    market = MarketState((S, DAY))
    told(market, *directory(["A"]), trade(3 * S, 1), end(3 * S))
    opening = row(TickKind.SYSTEM_EVENT, DAY, instrument_id=-1, detail=ord("O"))
    bars = told(market, opening, trade(DAY + S, 1), end(DAY + S)).bars
    assert bars[["window_ns", "volume", "revision"]].tolist() == [(S, 5, 0), (DAY, 5, 0)]
    assert market.bars.counters[count.ENDS] == 1


def test_alerts_when_a_session_ends_then_none_goes_on() -> None:
    market = MarketState(alert_limits=AlertLimits({"CROSSED_BOOK": 0}, samples_min=2))
    bid = row(TickKind.ADD, S, instrument_id=0, order_ref=1, side=ord("B"), price_e4=price(9), qty=5)
    ask = row(TickKind.ADD, S, instrument_id=0, order_ref=2, side=ord("S"), price_e4=price(1), qty=5)
    begun = told(market, *directory(["A"]), bid, ask, row(TickKind.HEARTBEAT, 3 * S, instrument_id=-1)).alerts
    assert [(one["kind"], one["phase"]) for one in begun] == [(b"CROSSED_BOOK", b"begin")]
    over = told(market, end(3 * S))
    assert [(one["kind"], one["phase"]) for one in over.alerts] == [(b"CROSSED_BOOK", b"end")]
    assert sum(market.alerts.open_by_kind().values()) == 0
    assert [alert["phase"] for beat in over.beats for alert in beat.alerts.changed] == [b"end"]


def test_ends_when_more_than_are_remembered_then_trades_before_them_leave_the_log() -> None:
    market = MarketState((S, DAY))
    told(market, *directory(["A"]))
    for number in range(ENDS_MAX + 3):
        told(market, trade(10 * number * S, number + 1), end(10 * number * S))
    assert market.bars.counters[count.ENDS] == ENDS_MAX
    assert market.accounts()["windowed"] + market.accounts()["late"] == ENDS_MAX + 3
    (second,) = told(market, row(TickKind.BROKEN_TRADE, 9_000 * S, instrument_id=0, aux_ref=ENDS_MAX + 3)).bars
    assert second[["window_ns", "volume", "revision"]].tolist() == (S, 0, 1)
