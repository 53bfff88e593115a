"""The bars against a reference that folds the whole list of trades for every answer."""

from itertools import pairwise
from typing import Any

import numpy as np
from common.books import Books
from common.books.layout import PRINT
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.bars import TumblingBars
from signals.domain.market import MarketState

from tests.signals.bar_referee import BarRow, ReferenceBars, plain

S = 1_000_000_000
WINDOWS = (S, 60 * S)


def expected_bars(ticks: Ticks) -> list[BarRow]:
    """Bars that the reference issues for the prints of the ticks."""
    reference = ReferenceBars(tuple((length, length) for length in WINDOWS))
    reference.take(ticks)
    return reference.issued


def issued_bars(ticks: Ticks, cuts: list[int], **options: Any) -> list[BarRow]:
    """Bars that the market issues for the ticks, cut into frames at ``cuts``."""
    market = MarketState(WINDOWS, **options)
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    return [bar for begin, end in pairwise(edges) for bar in plain(market.apply(ticks[begin:end], 0).bars)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@settings(deadline=None, max_examples=200)
@given(flows(disorder=True, size=200), CUTS)
def test_bars_when_any_flow_and_any_frames_then_equal_to_the_reference(ticks: Ticks, cuts: list[int]) -> None:
    assert issued_bars(ticks, cuts) == expected_bars(ticks)


@settings(deadline=None)
@given(flows(size=200), CUTS)
def test_bars_when_in_order_then_each_is_issued_once_but_for_breaks(ticks: Ticks, cuts: list[int]) -> None:
    sound = ticks[ticks["kind"] != TickKind.BROKEN_TRADE]
    bars = issued_bars(sound, cuts)
    assert bars == expected_bars(sound)
    assert len({bar[:3] for bar in bars}) == len(bars)
    assert all(bar[-1] == 0 for bar in bars)
    assert [(b[1] + b[0], b[0], b[2]) for b in bars] == sorted((b[1] + b[0], b[0], b[2]) for b in bars)


@settings(deadline=None)
@given(flows(disorder=True, size=200), CUTS, CUTS)
def test_bars_when_the_log_is_tiny_then_frames_still_make_no_difference(
    ticks: Ticks, cuts: list[int], others: list[int]
) -> None:
    assert issued_bars(ticks, cuts, trades_max=8) == issued_bars(ticks, others, trades_max=8)


def trade(at_ns: int, match: int, step: int, qty: int) -> dict[str, int]:
    return row(TickKind.TRADE, at_ns, instrument_id=0, aux_ref=match, price_e4=price(step), qty=qty)


def beat(at_ns: int) -> dict[str, int]:
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1)


def broken(at_ns: int, match: int) -> dict[str, int]:
    return row(TickKind.BROKEN_TRADE, at_ns, instrument_id=0, aux_ref=match)


def bars_of_one_second(*rows: dict[str, int]) -> tuple[list[tuple[int, ...]], MarketState]:
    """(open, high, low, close, volume, trades, notional, revision) of the issued bars of [0 s, 1 s), and the market."""
    market = MarketState((S,))
    bars = plain(market.apply(tick_array([*directory(["A"]), *rows]), 0).bars)
    return [bar[3:] for bar in bars if bar[1] == SESSION_NS], market


def test_bar_when_its_trade_is_broken_later_then_restated_with_next_revision() -> None:
    bars, market = bars_of_one_second(trade(1, 7, 5, 10), trade(2, 8, 1, 20), beat(S), broken(2 * S, 7))
    first = (price(5), price(5), price(1), price(1), 30, 2, price(5) * 10 + price(1) * 20, 0)
    assert bars == [first, (price(1), price(1), price(1), price(1), 20, 1, price(1) * 20, 1)]
    assert market.books.listings["volume"][0] == 20


def test_bar_when_all_trades_are_broken_later_then_issued_with_zeros() -> None:
    bars, _ = bars_of_one_second(trade(1, 7, 5, 10), beat(S), broken(2 * S, 7))
    assert bars[1:] == [(0, 0, 0, 0, 0, 0, 0, 1)]


def test_bar_when_broken_while_open_then_never_issued() -> None:
    bars, market = bars_of_one_second(trade(1, 7, 5, 10), broken(2, 7), beat(S))
    assert bars == []
    assert market.anomalies()["unknown_break"] == 0


def test_bar_when_a_trade_comes_late_then_restated_by_event_time() -> None:
    bars, market = bars_of_one_second(trade(5, 1, 5, 10), beat(S), trade(4, 2, 9, 1), trade(6, 3, 2, 1))
    assert bars[1] == (price(9), price(9), price(5), price(5), 11, 2, price(5) * 10 + price(9), 1)
    assert bars[2][:4] == (price(9), price(9), price(2), price(2))
    assert bars[2][-1] == 2
    assert market.anomalies()["late_trade"] == 2


def test_bar_when_only_late_trades_then_first_issue_is_revision_0() -> None:
    bars, _ = bars_of_one_second(beat(S), trade(4, 2, 9, 1), trade(5, 3, 9, 1))
    assert [bar[-1] for bar in bars] == [0, 1]


def test_break_when_unknown_or_repeated_then_counted_and_nothing_issued() -> None:
    bars, market = bars_of_one_second(trade(1, 7, 5, 10), beat(S), broken(S, 9), broken(S, 7), broken(S, 7))
    assert len(bars) == 2
    assert market.anomalies()["unknown_break"] == 2


def test_prints_when_not_printable_or_without_shares_then_in_no_bar() -> None:
    order = {"instrument_id": 0, "order_ref": 1, "side": ord("B"), "price_e4": price(3), "qty": 10}
    bars, _ = bars_of_one_second(
        row(TickKind.ADD, 0, **order),
        row(TickKind.EXECUTED, 1, instrument_id=0, order_ref=1, qty=2, aux_ref=1),
        row(TickKind.EXECUTED_WITH_PRICE, 2, instrument_id=0, order_ref=1, qty=3, aux_ref=2, price_e4=price(7)),
        row(
            TickKind.EXECUTED_WITH_PRICE, 3, instrument_id=0, order_ref=1, qty=4, aux_ref=3, price_e4=price(8), flags=1
        ),
        row(TickKind.CROSS_TRADE, 4, instrument_id=0, qty=0, aux_ref=4, price_e4=price(9)),
        row(TickKind.CROSS_TRADE, 5, instrument_id=0, qty=5, aux_ref=5, price_e4=price(4)),
        beat(S),
    )
    notional = 2 * price(3) + 4 * price(8) + 5 * price(4)
    assert bars == [(price(3), price(8), price(3), price(4), 11, 3, notional, 0)]


def test_bars_when_a_session_begins_then_open_ones_are_closed_and_the_clock_starts_anew() -> None:
    opening = row(TickKind.SYSTEM_EVENT, 1, instrument_id=-1, detail=ord("O"))
    bars, market = bars_of_one_second(trade(5, 1, 5, 10), opening, trade(2, 1, 6, 3), beat(S))
    assert [(bar[3], bar[4], bar[-1]) for bar in bars] == [(price(5), 10, 0), (price(6), 3, 0)]
    assert market.anomalies()["late_trade"] == 0


def test_restatement_when_the_window_has_left_the_log_then_lost_and_counted() -> None:
    bars = TumblingBars((S,), trades_max=8)
    bars.admit(1)
    listings = Books().listings
    prints = np.zeros(20, PRINT)
    prints["event_ns"] = prints["clock_ns"] = np.arange(20) * S // 4
    prints["match"] = 1 + np.arange(20)
    prints["price_e4"] = prints["qty"] = 1
    first = bars.apply(prints, 5 * S, listings)
    assert first["volume"].tolist() == [4] * 5
    late = np.zeros(1, PRINT)
    late["event_ns"], late["clock_ns"], late["match"], late["price_e4"], late["qty"] = S, 5 * S, 99, 1, 1
    assert len(bars.apply(late, 5 * S, listings)) == 0
    assert bars.anomalies()["lost_restatement"] == 1


def test_windows_when_lengths_do_not_divide_each_other_then_order_is_by_end() -> None:
    market = MarketState((7 * S, 10 * S))
    base = SESSION_NS
    rows = [*directory(["A"]), trade(0, 1, 1, 1), beat(100 * S)]
    bars = plain(market.apply(tick_array(rows), 0).bars)
    ends = [bar[0] + bar[1] for bar in bars]
    assert ends == sorted(ends)
    assert {bar[1] for bar in bars} == {base // (7 * S) * 7 * S, base // (10 * S) * 10 * S}
