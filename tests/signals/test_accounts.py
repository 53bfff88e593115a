"""Every tick that tells a trade ends as windowed, late or rejected, and in exactly one of them."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
from common.books import Books
from common.books import count as book_count
from common.books.layout import PRINT
from common.contracts.market import LateReason
from common.contracts.ticks import TICK, TickFlag, TickKind, Ticks
from common.contracts.windows import ALLOWED_LATENESS_NS
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain import count
from signals.domain.bars import TumblingBars
from signals.domain.effects import Effects
from signals.domain.market import MarketState

S = 1_000_000_000
CUTS = st.lists(st.integers(0, 10_000), max_size=4)


class ReferenceAccounts:
    """Open orders, the clock and the trades that windows hold, tick by tick. Within a test no trade leaves the log."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.clock_ns = 0
        self.held: dict[int, tuple[int, ...]] = {}
        self.counts: Counter[str] = Counter()

    def apply(self, tick: Any) -> None:
        kind, ref, qty = int(tick["kind"]), int(tick["order_ref"]), int(tick["qty"])
        if kind == TickKind.SYSTEM_EVENT:
            return
        self.clock_ns = max(self.clock_ns, int(tick["event_ns"]))
        prints = bool(tick["flags"] & TickFlag.PRINTABLE)
        known = ref in self.open
        if kind in (TickKind.EXECUTED, TickKind.TRADE):
            unpriced = kind == TickKind.EXECUTED and not known
            self._trade(tick, refused=unpriced or qty <= 0 or tick["instrument_id"] < 0)
        elif (kind == TickKind.EXECUTED_WITH_PRICE and prints) or (kind == TickKind.CROSS_TRADE and qty > 0):
            self._trade(tick, refused=qty <= 0 or tick["instrument_id"] < 0)
        self._order(kind, tick, ref, qty)

    def _trade(self, tick: Any, *, refused: bool) -> None:
        match = int(tick["aux_ref"])
        told = tuple(int(tick[name]) for name in ("event_ns", "qty", "price_e4", "order_ref"))
        if refused:
            self.counts["rejected"] += 1
        elif tick["event_ns"] < self.clock_ns - ALLOWED_LATENESS_NS:
            self.counts["late"] += 1
        elif match and self.held.get(match) == told:
            self.counts["rejected"] += 1
        else:
            self.counts["windowed"] += 1
            self.held[match] = told

    def _order(self, kind: int, tick: Any, ref: int, qty: int) -> None:
        if tick["instrument_id"] < 0:
            return
        if kind in (TickKind.ADD, TickKind.ADD_WITH_MPID):
            if qty > 0 and tick["side"] in b"BS":
                self.open.setdefault(ref, qty)
        elif kind == TickKind.REPLACE and self.open.pop(ref, 0):
            if qty > 0:
                self.open.setdefault(int(tick["aux_ref"]), qty)
        elif kind == TickKind.DELETE:
            self.open.pop(ref, None)
        elif kind in (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE, TickKind.CANCEL) and qty > 0:
            left = self.open.pop(ref, 0) - qty
            if left > 0:
                self.open[ref] = left


def run(ticks: Ticks, cuts: list[int], **options: Any) -> tuple[MarketState, list[Effects]]:
    market = MarketState(**options)
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    return market, [market.apply(ticks[begin:end], 0) for begin, end in pairwise(edges)]


@st.composite
def disturbed(draw: st.DrawFn) -> Ticks:
    """A flow with messages that fit no order, late ones, gaps (ticks are missing) and repetitions of earlier ticks."""
    ticks = draw(flows(damaged=True, disorder=True, size=160))
    kept = draw(st.lists(st.integers(0, 9), min_size=len(ticks), max_size=len(ticks)))
    again = draw(st.lists(st.tuples(st.integers(0, 9_999), st.integers(1, 40)), max_size=12))
    order = [place for place, luck in enumerate(kept) if luck]
    for at, back in again:
        place = at % (len(order) + 1)
        order.insert(place, order[max(0, place - back)] if order else 0)
    found: Ticks = ticks[order].copy()
    found.flags.writeable = False
    return found


@settings(deadline=None, max_examples=150)
@given(disturbed(), CUTS)
def test_accounts_when_input_is_gapped_late_damaged_and_repeated_then_each_trade_is_in_one_of_them(
    ticks: Ticks, cuts: list[int]
) -> None:
    market, effects = run(ticks, cuts)
    reference = ReferenceAccounts()
    for tick in ticks:
        reference.apply(tick)
    assert market.accounts() == {name: reference.counts[name] for name in ("windowed", "late", "rejected")}
    assert sum(len(effect.late) for effect in effects) == reference.counts["late"]
    books, bars = market.books.counters, market.bars.counters
    assert int(books[book_count.TRADES]) == sum(market.accounts().values())
    assert int(bars[count.WINDOWED]) == market.accounts()["windowed"]


def trades_within(draw: st.DrawFn, span_ns: int) -> Ticks:
    """Trades of three instruments, each at most ``span_ns`` after the one before it."""
    steps = st.tuples(st.integers(0, span_ns), st.integers(0, 2), st.integers(-9, 9), st.integers(1, 99))
    drawn = draw(st.lists(steps, min_size=1, max_size=60))
    trades = np.zeros(len(drawn), TICK)
    trades["kind"], trades["flags"] = TickKind.TRADE, TickFlag.PRINTABLE
    trades["event_ns"] = SESSION_NS + np.cumsum([1 + wait for wait, *_ in drawn])
    trades["instrument_id"] = [instrument for _, instrument, *_ in drawn]
    trades["price_e4"] = [price(step) for *_, step, _ in drawn]
    trades["qty"] = [qty for *_, qty in drawn]
    trades["aux_ref"] = 1 + np.arange(len(drawn))
    return trades


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[Ticks, Ticks]:
    """Trades in order, and the same delayed by less than the allowed lateness each. No two are of the same time."""
    trades = trades_within(draw, 20 * S)
    delays = draw(st.lists(st.integers(0, ALLOWED_LATENESS_NS), min_size=len(trades), max_size=len(trades)))
    late = trades[np.argsort(trades["event_ns"] + np.array(delays), kind="stable")]
    return trades, late


def final(effects: list[Effects]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The last revision of each bar, without its number."""
    names = ("window_ns", "window_start_ns", "instrument_id")
    values = ("open_e4", "high_e4", "low_e4", "close_e4", "volume", "notional_e4", "trades")
    return {
        tuple(int(bar[name]) for name in names): tuple(int(bar[name]) for name in values)
        for effect in effects
        for bar in effect.bars
    }


@settings(deadline=None, max_examples=80)
@given(shuffled(), CUTS)
def test_bars_when_trades_are_shuffled_within_the_lateness_then_they_end_as_those_of_sorted_trades(
    trades: tuple[Ticks, Ticks], cuts: list[int]
) -> None:
    closing = tick_array([row(TickKind.HEARTBEAT, 100_000 * S, instrument_id=-1)])
    sorted_market, in_order = run(np.concatenate((trades[0], closing)), [])
    shuffled_market, delayed = run(np.concatenate((trades[1], closing)), cuts)
    assert final(delayed) == final(in_order)
    everything = {"windowed": len(trades[0]), "late": 0, "rejected": 0}
    assert shuffled_market.accounts() == sorted_market.accounts() == everything


def trade(at_ns: int, match: int) -> dict[str, int]:
    return row(TickKind.TRADE, at_ns, instrument_id=0, aux_ref=match, price_e4=price(1), qty=5)


def test_trade_when_beyond_the_lateness_then_told_with_its_reason_and_in_no_bar() -> None:
    beat = row(TickKind.HEARTBEAT, 100 * S, instrument_id=-1)
    ticks = tick_array([*directory(["A"]), beat, trade(70 * S, 1), trade(70 * S - 1, 2), trade(71 * S, 3)])
    market, (effects,) = run(ticks, [], lateness_ns=30 * S)
    assert market.accounts() == {"windowed": 2, "late": 1, "rejected": 0}
    (late,) = effects.late
    assert [late[name] for name in ("symbol", "reason", "match", "event_ns", "clock_ns", "price_e4", "qty")] == [
        *(b"A", LateReason.BEYOND_LATENESS.encode(), 2, SESSION_NS + 70 * S - 1, SESSION_NS + 100 * S, price(1), 5)
    ]
    assert effects.bars[effects.bars["window_ns"] == S]["volume"].tolist() == [5, 5]


def test_trade_when_told_twice_then_counted_once() -> None:
    market, _ = run(tick_array([*directory(["A"]), trade(1, 1), trade(2, 2), trade(1, 1)]), [])
    assert market.accounts() == {"windowed": 2, "late": 0, "rejected": 1}
    assert market.books.listings["volume"][0] == 10
    assert market.anomalies()["duplicate_trade"] == 1


def test_trade_when_all_of_its_windows_have_left_the_log_then_late_with_that_reason() -> None:
    bars = TumblingBars((S,), trades_max=8)
    bars.admit(1)
    prints = np.zeros(20, PRINT)
    prints["event_ns"] = prints["clock_ns"] = np.arange(20) * S // 4
    prints["match"] = 1 + np.arange(20)
    prints["price_e4"] = prints["qty"] = 1
    bars.apply(prints, 5 * S, Books().listings)
    late = np.zeros(1, PRINT)
    late["event_ns"], late["clock_ns"], late["match"], late["price_e4"], late["qty"] = S, 5 * S, 99, 1, 1
    bars.apply(late, 5 * S, Books().listings)
    assert bars.late["reason"].tolist() == [LateReason.LEFT_LOG.encode()]
