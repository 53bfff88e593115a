"""Builders of ticks for feeds: single rows, and books of price levels.

The fleet's books are order by order. A price level of a source that publishes levels is one order with a reference of
its own: a new level is an add, a changed one a replace, one that is gone a delete. The books' levels are then exactly
those of the source.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.contracts.ticks import TICK, TickFlag, TickKind, Ticks

BUY: Final = ord("B")
SELL: Final = ord("S")
_PRINTABLE: Final = int(TickFlag.PRINTABLE)
_ADD, _DELETE, _REPLACE = int(TickKind.ADD), int(TickKind.DELETE), int(TickKind.REPLACE)
_TRADE, _CLEAR = int(TickKind.TRADE), int(TickKind.BOOK_CLEAR)
Row = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""The fields of ``TICK`` in their order."""


class TickRows:
    """Collects ticks one by one. ``take`` bounds it: call it after every chunk."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(
        self,
        kind: int,
        event_ns: int,
        sequence: int,
        instrument_id: int,
        *,
        order_ref: int = 0,
        aux_ref: int = 0,
        price: int = 0,
        qty: int = 0,
        side: int = 0,
        flags: int = 0,
        detail: int = 0,
    ) -> None:
        """One tick."""
        self._rows.append(
            (event_ns, sequence, order_ref, aux_ref, price, qty, instrument_id, kind, side, flags, detail)
        )

    def trade(
        self, event_ns: int, sequence: int, instrument_id: int, price: int, qty: int, *, match: int = 0, side: int = 0
    ) -> None:
        """A trade that counts for volume and touches no order of the book. ``side`` is that of the resting order."""
        self._rows.append((event_ns, sequence, 0, match, price, qty, instrument_id, _TRADE, side, _PRINTABLE, 0))

    def clear(self, event_ns: int, sequence: int, instrument_id: int) -> None:
        """Empties the instrument's book."""
        self._rows.append((event_ns, sequence, 0, 0, 0, 0, instrument_id, _CLEAR, 0, 0, 0))

    def take(self) -> Ticks:
        """The ticks since the last call."""
        taken, self._rows = self._rows, []
        return np.array(taken, TICK)


class LevelBook:
    """The price levels of one instrument, as its source publishes them. Bounded by the source's depth."""

    def __init__(self, rows: TickRows, instrument_id: int, references: "References") -> None:
        self.instrument_id = instrument_id
        self.bids: dict[int, tuple[int, int]] = {}
        """Price to (reference, quantity)."""
        self.asks: dict[int, tuple[int, int]] = {}
        self._rows = rows
        self._references = references

    def set(self, event_ns: int, sequence: int, side: int, price: int, qty: int) -> None:
        """The level at ``price`` holds ``qty``; 0: it is gone. A level that is as it was makes no tick."""
        levels = self.bids if side == BUY else self.asks
        known = levels.get(price)
        append, instrument = self._rows.append, self.instrument_id
        if qty == 0:
            if known is not None:
                del levels[price]
                append(_DELETE, event_ns, sequence, instrument, order_ref=known[0])
            return
        if known is not None and known[1] == qty:
            return
        reference = self._references.next()
        levels[price] = (reference, qty)
        if known is None:
            append(_ADD, event_ns, sequence, instrument, order_ref=reference, price=price, qty=qty, side=side)
        else:
            append(
                _REPLACE, event_ns, sequence, instrument, order_ref=known[0], aux_ref=reference, price=price, qty=qty
            )

    def become(self, event_ns: int, sequence: int, side: int, levels: Mapping[int, int]) -> None:
        """A whole side, as a snapshot has it: what differs makes ticks."""
        current = self.bids if side == BUY else self.asks
        for price in [price for price in current if price not in levels]:
            self.set(event_ns, sequence, side, price, 0)
        for price, qty in levels.items():
            self.set(event_ns, sequence, side, price, qty)

    def best(self) -> tuple[int, int, int, int]:
        """Bid price, bid quantity, ask price, ask quantity; 0 where a side is empty."""
        bid = max(self.bids, default=0)
        ask = min(self.asks, default=0)
        return bid, self.bids[bid][1] if self.bids else 0, ask, self.asks[ask][1] if self.asks else 0


class References:
    """Order references of a feed that has none: 1, 2, 3, … over all its instruments."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """One that was not given yet."""
        self._last += 1
        return self._last


def empty_ticks() -> Ticks:
    """No tick."""
    return np.empty(0, TICK)
