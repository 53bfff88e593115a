"""Ticks of market events that others wrote: trades as they are, what venues show as orders in the book.

A price level of a venue is one order, as feed readers have it (``common.feed_ticks``). Its reference, and the match
number of a trade, are hashes with the highest bit set, which no exchange's own number has: so nobody who is without the
rows of another task gives the same level another name, and a venue takes back no trade but its own.
"""

from hashlib import blake2b
from typing import Final

import msgspec
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.ticks import TickKind, Ticks
from common.contracts.values import Side
from common.feed_ticks import BUY, SELL, TickRows

LEVELS_MAX: Final = 100
"""Levels of a side of a venue's book; beyond them the worst goes."""
NOT_A_MESSAGE: Final = 0
"""Sequence of ticks that are no message of the feed."""
_OURS: Final = 1 << 63
_SIDES: Final = {Side.BUY: BUY, Side.SELL: SELL}


class VenueBook(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a venue shows of one instrument: price → quantity."""

    bids: dict[int, int] = {}
    asks: dict[int, int] = {}


def name_of(*parts: str | int) -> int:
    """A number of 63 bits for what the parts name, and the highest bit."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") | _OURS


def ticks_of(event: MarketEvent, instrument_id: int, shown: VenueBook) -> tuple[Ticks, VenueBook]:
    """What the event is in ticks, and what its venue shows of the instrument afterwards; ``shown``: what it showed."""
    rows = TickRows()
    match event.kind:
        case MarketEventKind.TRADE:
            match = name_of(event.venue, event.trade_id) if event.trade_id else 0
            side = _SIDES[event.side] if event.side else 0
            price, qty = event.price_e4 or 0, event.qty or 0
            rows.trade(event.event_ns, NOT_A_MESSAGE, instrument_id, price, qty, match=match, side=side)
        case MarketEventKind.TRADE_BREAK:
            match = name_of(event.venue, event.trade_id or 0)
            rows.append(TickKind.BROKEN_TRADE, event.event_ns, NOT_A_MESSAGE, instrument_id, aux_ref=match)
        case MarketEventKind.QUOTE:
            is_bid = event.side is Side.BUY
            levels = dict(shown.bids if is_bid else shown.asks)
            levels[event.price_e4 or 0] = event.qty or 0
            turned = _Side(rows, event, instrument_id, BUY if is_bid else SELL)
            after = turned.become(shown.bids if is_bid else shown.asks, levels)
            shown = VenueBook(after, shown.asks) if is_bid else VenueBook(shown.bids, after)
        case MarketEventKind.BBO:
            bid, ask = {event.bid_e4 or 0: event.bid_size or 0}, {event.ask_e4 or 0: event.ask_size or 0}
            shown = VenueBook(
                _Side(rows, event, instrument_id, BUY).become(shown.bids, bid),
                _Side(rows, event, instrument_id, SELL).become(shown.asks, ask),
            )
        case MarketEventKind.HEARTBEAT:
            pass
    return rows.take(), shown


class _Side:
    """Turns one side of a venue's book into another one, by orders of a level each."""

    def __init__(self, rows: TickRows, event: MarketEvent, instrument_id: int, side: int) -> None:
        self._rows, self._event, self._instrument_id, self._side = rows, event, instrument_id, side

    def become(self, before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
        """Levels of no quantity are none. Returns what is there now."""
        best_first = sorted((price for price, qty in after.items() if qty), reverse=self._side == BUY)
        now = {price: after[price] for price in best_first[:LEVELS_MAX]}
        for price in before:
            if price not in now:
                self._add(TickKind.DELETE, price, 0)
        for price, qty in now.items():
            if price not in before:
                self._add(TickKind.ADD, price, qty)
            elif before[price] != qty:
                self._add(TickKind.REPLACE, price, qty)
        return now

    def _add(self, kind: TickKind, price: int, qty: int) -> None:
        ref = name_of(self._event.venue, self._instrument_id, self._side, price)
        self._rows.append(
            kind,
            self._event.event_ns,
            NOT_A_MESSAGE,
            self._instrument_id,
            order_ref=ref,
            aux_ref=ref if kind is TickKind.REPLACE else 0,
            price=price if kind is not TickKind.DELETE else 0,
            qty=qty,
            side=self._side if kind is TickKind.ADD else 0,
        )
