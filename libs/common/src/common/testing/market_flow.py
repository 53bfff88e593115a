"""Tick arrays for tests: a builder, and hypothesis strategies for flows of orders that are valid or damaged."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from common.contracts.ticks import TICK, TickFlag, TickKind, Ticks, symbol_to_ref

SESSION_NS = 1_700_000_000_000_000_000 // 86_400_000_000_000 * 86_400_000_000_000
"""A midnight: event times of the flows begin here."""

PRINTABLE = {TickKind.EXECUTED, TickKind.TRADE}

Row = dict[str, int]


def row(kind: TickKind, at_ns: int = 0, **fields: int) -> Row:
    """One tick as a dict; ``at_ns`` is counted from SESSION_NS."""
    flags = TickFlag.PRINTABLE if kind in PRINTABLE or (kind is TickKind.CROSS_TRADE and fields.get("qty")) else 0
    return {"kind": int(kind), "event_ns": SESSION_NS + at_ns, "flags": int(flags)} | fields


def tick_array(rows: Iterable[Row]) -> Ticks:
    """The rows as TICK records, numbered from 1 (heartbeats carry no number), read-only as from a frame."""
    listed = list(rows)
    ticks = np.zeros(len(listed), TICK)
    sequence = 0
    for tick, fields in zip(ticks, listed, strict=True):
        for name, value in fields.items():
            tick[name] = value
        if fields["kind"] != TickKind.HEARTBEAT and "sequence" not in fields:
            sequence += 1
            tick["sequence"] = sequence
    ticks.flags.writeable = False
    return ticks


def directory(symbols: Sequence[str]) -> list[Row]:
    """R messages that name instruments 0, 1, …"""
    return [
        row(TickKind.STOCK_DIRECTORY, instrument_id=i, order_ref=symbol_to_ref(symbol), qty=100)
        for i, symbol in enumerate(symbols)
    ]


KINDS = (
    *(TickKind.ADD,) * 6,
    TickKind.ADD_WITH_MPID,
    *(TickKind.EXECUTED,) * 2,
    TickKind.EXECUTED_WITH_PRICE,
    TickKind.CANCEL,
    *(TickKind.DELETE,) * 3,
    *(TickKind.REPLACE,) * 2,
    TickKind.TRADE,
    TickKind.CROSS_TRADE,
    TickKind.BROKEN_TRADE,
    TickKind.TRADING_ACTION,
    TickKind.HEARTBEAT,
)


class _Flow:
    """Turns small random numbers into messages about orders that are open, and now and then into nonsense."""

    def __init__(self, damaged: bool) -> None:
        self._damaged = damaged
        self._open: list[tuple[int, int, int]] = []
        self._matches = 0
        self._refs = 0

    def next(self, kind: TickKind, pick: int, instrument: int, step: int, qty: int, at_ns: int) -> Row:
        if self._damaged and pick % 7 == 0:
            return self._nonsense(kind, pick, instrument, step, qty, at_ns)
        if kind in (TickKind.ADD, TickKind.ADD_WITH_MPID):
            return self._add(kind, pick, instrument, step, qty, at_ns)
        if kind in (TickKind.TRADE, TickKind.CROSS_TRADE):
            shares = qty if kind is TickKind.TRADE or pick % 3 else 0
            match = self._next_match()
            return row(kind, at_ns, instrument_id=instrument, price_e4=price(step), qty=shares, aux_ref=match)
        if kind is TickKind.BROKEN_TRADE:
            return row(kind, at_ns, instrument_id=instrument, aux_ref=1 + pick % max(1, self._matches))
        if kind is TickKind.TRADING_ACTION:
            return row(kind, at_ns, instrument_id=instrument, detail=b"THPQ"[pick % 4])
        if kind is TickKind.HEARTBEAT:
            return row(kind, at_ns, instrument_id=-1)
        if not self._open:
            return self._add(TickKind.ADD, pick, instrument, step, qty, at_ns)
        return self._modify(kind, pick, step, qty, at_ns)

    def _add(self, kind: TickKind, pick: int, instrument: int, step: int, qty: int, at_ns: int) -> Row:
        self._refs += 1
        self._open.append((self._refs, instrument, qty))
        side = b"BS"[pick % 2]
        fields = {"order_ref": self._refs, "instrument_id": instrument, "side": side, "price_e4": price(step)}
        return row(kind, at_ns, qty=qty, **fields)

    def _modify(self, kind: TickKind, pick: int, step: int, qty: int, at_ns: int) -> Row:
        place = pick % len(self._open)
        ref, instrument, left = self._open.pop(place)
        fields = {"order_ref": ref, "instrument_id": instrument}
        if kind is TickKind.REPLACE:
            self._refs += 1
            self._open.append((self._refs, instrument, qty))
            fields |= {"aux_ref": self._refs, "price_e4": price(step), "qty": qty}
        elif kind is not TickKind.DELETE:
            taken = 1 + qty % left
            if taken < left:
                self._open.append((ref, instrument, left - taken))
            fields["qty"] = taken
            if kind is not TickKind.CANCEL:
                fields["aux_ref"] = self._next_match()
            if kind is TickKind.EXECUTED_WITH_PRICE:
                fields |= {"price_e4": price(step), "flags": pick // 2 % 2}
        return row(kind, at_ns, **fields)

    def _nonsense(self, kind: TickKind, pick: int, instrument: int, step: int, qty: int, at_ns: int) -> Row:
        ref = 1 + pick % (self._refs + 3)
        fields = {"order_ref": ref, "aux_ref": 1 + pick % 5, "qty": qty * (pick % 3), "price_e4": price(step)}
        return row(kind, at_ns, instrument_id=instrument - (pick % 11 == 0), side=b"BSX"[pick % 3], **fields)

    def _next_match(self) -> int:
        self._matches += 1
        return self._matches


def price(step: int) -> int:
    """A price in 1e-4 units, one cent per step, around 100."""
    return 1_000_000 + 100 * step


def flows(
    *, damaged: bool = False, disorder: bool = False, instruments: int = 3, size: int = 120
) -> st.SearchStrategy[Any]:
    """Tick arrays. ``damaged``: with messages that fit no order. ``disorder``: event times now and then step back."""
    steps = st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 10_000),
        st.integers(0, instruments - 1),
        st.integers(-12, 12),
        st.integers(1, 900),
        st.sampled_from((0, 1, 1_000_000, 300_000_000, 1_000_000_000, 61_000_000_000)),
        st.sampled_from((0, 0, 0, 1_500_000_000, 70_000_000_000) if disorder else (0,)),
    )

    def build(drawn: list[Any]) -> Ticks:
        flow = _Flow(damaged)
        rows, now = directory([f"SYM{i}" for i in range(instruments)]), 0
        for kind, pick, instrument, step, qty, wait, back in drawn:
            now += wait
            rows.append(flow.next(kind, pick, instrument, step, qty, max(0, now - back)))
        return tick_array(rows)

    return st.lists(steps, max_size=size).map(build)
