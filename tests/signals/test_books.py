"""The books against a reference that is too simple to be wrong, message by message."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from common.books import Books
from common.books.layout import INSTRUMENTS_MAX, STOP_END, STOP_HEARTBEAT, STOP_SESSION
from common.contracts.ticks import TICK, TickKind, Ticks
from common.testing.market_flow import directory, flows, price, row, tick_array
from hypothesis import given, settings


class ReferenceBooks:
    """Orders in a dict; every level is summed anew for every question."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}
        self.anomalies: Counter[str] = Counter()
        self.prints: list[tuple[int, int, int, int]] = []

    def apply(self, tick: np.void) -> None:
        kind = TickKind(int(tick["kind"]))
        if kind is TickKind.HEARTBEAT:
            return
        if int(tick["instrument_id"]) < 0 and kind is not TickKind.BROKEN_TRADE:
            self.anomalies["no_instrument"] += 1
        elif kind in (TickKind.ADD, TickKind.ADD_WITH_MPID):
            self._add(int(tick["order_ref"]), int(tick["instrument_id"]), int(tick["side"]), tick)
        elif kind in (TickKind.TRADE, TickKind.CROSS_TRADE):
            if int(tick["qty"]) or kind is TickKind.TRADE:
                self._print(tick, int(tick["instrument_id"]), int(tick["price_e4"]))
        elif kind is TickKind.BROKEN_TRADE:
            self.prints.append((int(tick["instrument_id"]), int(tick["aux_ref"]), 0, 0))
        elif kind in (TickKind.STOCK_DIRECTORY, TickKind.TRADING_ACTION):
            return
        else:
            self._modify(kind, tick)

    def _print(self, tick: np.void, instrument: int, price_e4: int) -> None:
        if int(tick["qty"]) <= 0:
            self.anomalies["bad_quantity"] += 1
        else:
            self.prints.append((instrument, int(tick["aux_ref"]), price_e4, int(tick["qty"])))

    def _add(self, ref: int, instrument: int, side: int, tick: np.void) -> None:
        if side not in b"BS":
            self.anomalies["bad_side"] += 1
        elif int(tick["qty"]) <= 0:
            self.anomalies["bad_quantity"] += 1
        elif ref in self.orders:
            self.anomalies["duplicate_ref"] += 1
        else:
            self.orders[ref] = [instrument, side, int(tick["price_e4"]), int(tick["qty"])]

    def _modify(self, kind: TickKind, tick: np.void) -> None:
        has_own_price = kind is TickKind.EXECUTED_WITH_PRICE and int(tick["flags"]) & 1
        ref, qty = int(tick["order_ref"]), int(tick["qty"])
        if ref not in self.orders:
            self.anomalies["unknown_ref"] += 1
            self.anomalies["unpriced_trade"] += kind is TickKind.EXECUTED
            if has_own_price:
                self._print(tick, int(tick["instrument_id"]), int(tick["price_e4"]))
            return
        instrument, side, price_e4, left = self.orders[ref]
        self.anomalies["wrong_instrument"] += instrument != int(tick["instrument_id"])
        if kind is TickKind.EXECUTED or has_own_price:
            self._print(tick, instrument, price_e4 if kind is TickKind.EXECUTED else int(tick["price_e4"]))
        if kind is TickKind.DELETE:
            del self.orders[ref]
        elif kind is TickKind.REPLACE:
            del self.orders[ref]
            self._add(int(tick["aux_ref"]), instrument, side, tick)
        elif qty <= 0:
            self.anomalies["bad_quantity"] += kind is TickKind.CANCEL
        else:
            self.anomalies["over_execution"] += qty > left
            self.orders[ref][3] -= qty
            if self.orders[ref][3] <= 0:
                del self.orders[ref]

    def levels(self, instrument: int, side: int) -> list[tuple[int, int]]:
        sizes: dict[int, int] = defaultdict(int)
        for at, order_side, price_e4, left in self.orders.values():
            if at == instrument and order_side == side:
                sizes[price_e4] += left
        return sorted(sizes.items(), reverse=side == ord("B"))

    def bbo(self, instrument: int) -> tuple[int, int, int, int]:
        bid = (self.levels(instrument, ord("B")) or [(0, 0)])[0]
        ask = (self.levels(instrument, ord("S")) or [(0, 0)])[0]
        return (*bid, *ask)


def run(books: Books, ticks: Ticks) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Applies all; returns the BBO rows, and the prints (instrument, match, price, shares)."""
    changes: list[tuple[int, ...]] = []
    prints: list[tuple[int, ...]] = []
    books.admit(ticks)
    at = 0
    while at < len(ticks):
        at = books.apply(ticks, at)
        changes += books.changes.tolist()
        rows = books.prints
        prints += zip(*(rows[name].tolist() for name in ("instrument_id", "match", "price_e4", "qty")), strict=True)
    return changes, [(i, match, price_e4 if qty else 0, qty) for i, match, price_e4, qty in prints]


@settings(deadline=None)
@given(flows(damaged=True))
def test_books_when_any_flow_then_bbo_prints_and_anomalies_equal_the_reference(ticks: Ticks) -> None:
    books, reference = Books(record_bbo=True), ReferenceBooks()
    expected, last = [], dict.fromkeys(range(3), (0, 0, 0, 0))
    clock_ns = 0
    for tick in ticks:
        reference.apply(tick)
        clock_ns = max(clock_ns, int(tick["event_ns"]))
        for instrument in range(3):
            bbo = reference.bbo(instrument)
            if bbo != last[instrument]:
                expected.append((int(tick["sequence"]), instrument, *bbo, int(tick["event_ns"]), clock_ns))
                last[instrument] = bbo
    changes, prints = run(books, ticks)
    assert changes == expected
    assert prints == reference.prints
    assert books.anomalies() == {name: reference.anomalies[name] for name in books.anomalies()}


@settings(deadline=None)
@given(flows(damaged=True, size=300))
def test_depth_when_any_flow_then_ten_best_levels_equal_the_reference(ticks: Ticks) -> None:
    books, reference = Books(), ReferenceBooks()
    run(books, ticks)
    for tick in ticks:
        reference.apply(tick)
    depth, counts = books.depth(np.arange(3))
    for instrument in range(3):
        for side, code in enumerate(b"BS"):
            levels = reference.levels(instrument, code)[:10]
            assert counts[instrument, side] == len(levels)
            assert depth[instrument, side].tolist() == [list(level) for level in levels] + [[0, 0]] * (10 - len(levels))


@settings(deadline=None)
@given(flows(damaged=True, size=200))
def test_queue_when_told_at_heartbeats_then_every_visible_change_is_in_it(ticks: Ticks) -> None:
    books, reference = Books(), ReferenceBooks()
    books.admit(ticks)
    told: dict[int, Any] = {i: ((0, 0, 0, 0), [], []) for i in range(3)}
    at = 0
    while at < len(ticks):
        begin, at = at, books.apply(ticks, at)
        for tick in ticks[begin:at]:
            reference.apply(tick)
        now = {
            i: (reference.bbo(i), reference.levels(i, ord("B"))[:10], reference.levels(i, ord("S"))[:10])
            for i in range(3)
        }
        ids, bits = books.take(0, 100)
        listed = dict(zip(ids.tolist(), bits.tolist(), strict=True))
        for i in range(3):
            assert (now[i][0] == told[i][0]) or listed[i] & 1
            assert (now[i][1:] == told[i][1:]) or listed[i] & 2
        told = now


def test_books_when_one_symbol_has_ten_thousand_levels_then_best_and_counts_are_right() -> None:
    levels = 10_000
    order = np.random.default_rng(1).permutation(levels)
    ticks = np.zeros(2 * levels, TICK)
    ticks["kind"][:levels] = TickKind.ADD
    ticks["side"] = ord("S")
    ticks["price_e4"][:levels] = 1 + order * 100
    ticks["qty"][:levels] = 1 + order
    ticks["order_ref"][:levels] = 1 + order
    ticks["kind"][levels:] = TickKind.DELETE
    ticks["order_ref"][levels:] = 1 + np.random.default_rng(2).permutation(levels)
    ticks.flags.writeable = False
    books = Books()
    run(books, ticks[:levels])
    assert books.sides["levels"].tolist()[:2] == [0, levels]
    assert books.depth(np.array([0]))[0][0, 1, :, 0].tolist() == [1 + 100 * i for i in range(10)]
    run(books, ticks[levels:])
    assert books.sides["levels"].max() == 0
    assert not books.state.orders["held"].any()


def test_books_when_session_begins_then_books_are_empty_and_the_change_is_told() -> None:
    books = Books()
    add = {"instrument_id": 0, "order_ref": 1, "side": ord("B"), "price_e4": price(0), "qty": 5}
    ticks = tick_array([*directory(["A"]), row(TickKind.ADD, 5, **add)])
    run(books, ticks)
    books.take(0, 10)
    opening = tick_array([row(TickKind.SYSTEM_EVENT, 9, instrument_id=-1, detail=ord("O"))])
    assert books.apply(opening) == 1
    assert books.stop == STOP_SESSION
    books.begin_session(int(opening["event_ns"][0]))
    assert [ids.tolist() for ids in books.take(0, 10)] == [[0], [3]]
    assert not books.depth(np.array([0]))[0].any()
    again = tick_array([row(TickKind.ADD, 10, **add)])
    books.apply(again)
    assert books.sides["best_e4"].tolist()[:2] == [price(0), 0]
    assert sum(books.anomalies().values()) == 0


def test_apply_when_heartbeats_are_inside_then_it_comes_back_after_each() -> None:
    books = Books()
    beat = row(TickKind.HEARTBEAT, 3, instrument_id=-1)
    ticks = tick_array([beat, beat, row(TickKind.REG_SHO, 4, instrument_id=0)])
    books.admit(ticks)
    stops = []
    at = 0
    while at < 3:
        at = books.apply(ticks, at)
        stops.append((at, books.stop))
    assert stops == [(1, STOP_HEARTBEAT), (2, STOP_HEARTBEAT), (3, STOP_END)]


@pytest.mark.parametrize("instrument", [-2, INSTRUMENTS_MAX])
def test_admit_when_an_id_is_impossible_then_refused_and_nothing_changed(instrument: int) -> None:
    books = Books()
    with pytest.raises(ValueError, match="instrument ids"):
        books.admit(tick_array([row(TickKind.REG_SHO, instrument_id=instrument)]))
    assert len(books.listings) == 0
