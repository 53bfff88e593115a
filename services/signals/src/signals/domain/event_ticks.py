"""Ticks of market events that others wrote: trades as they are, what venues show as orders in the book.

A price level of a venue is one order, as feed readers have it (``common.feed_ticks``). Its reference, and the match
number of a trade, are hashes with the highest bit set, which no exchange's own number has: so nobody who is without the
rows of another task gives the same level another name, and a venue takes back no trade but its own.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.ticks import TickKind, Ticks
from common.contracts.values import Side
from common.feed_ticks import BUY, SELL, TickRows

LEVELS_MAX: Final = 100
"""Levels of a side of a venue's book; beyond them the worst goes."""
NAMES_MAX: Final = 65_536
"""Names of levels that a process remembers."""
NOT_A_MESSAGE: Final = 0
"""Sequence of ticks that are no message of the feed."""
OURS: Final = 1 << 63
"""The bit that no exchange's own number has."""
_SIDES: Final = {Side.BUY: BUY, Side.SELL: SELL}


class VenueBook(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A venue's book of one instrument, as it is shown: price → quantity."""

    bids: dict[int, int] = {}
    asks: dict[int, int] = {}


class Where(NamedTuple):
    """The book that changes, by venue and instrument, and when."""

    venue: str
    instrument_id: int
    event_ns: int


def name_of(*parts: str | int) -> int:
    """A number of 63 bits for what the parts name, and the highest bit."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") | OURS


_level_name: Final = lru_cache(NAMES_MAX)(name_of)


def ticks_of(event: MarketEvent, instrument_id: int, shown: VenueBook) -> tuple[Ticks, VenueBook]:
    """The event as ticks, and its venue's book of the instrument afterwards; ``shown``: the book before."""
    rows, where = TickRows(), Where(event.venue, instrument_id, event.event_ns)
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
            shown = quote(rows, where, shown, event.side is Side.BUY, event.price_e4 or 0, event.qty or 0)
        case MarketEventKind.BBO:
            bid, ask = (event.bid_e4 or 0, event.bid_size or 0), (event.ask_e4 or 0, event.ask_size or 0)
            shown = best(rows, where, shown, bid, ask)
        case MarketEventKind.HEARTBEAT:
            pass
    return rows.take(), shown


def quote(rows: TickRows, where: Where, shown: VenueBook, is_bid: bool, price_e4: int, qty: int) -> VenueBook:
    """The venue shows ``qty`` at one price of one side. Returns what it shows then."""
    before = shown.bids if is_bid else shown.asks
    after = _become(rows, where, BUY if is_bid else SELL, before, before | {price_e4: qty})
    return VenueBook(after, shown.asks) if is_bid else VenueBook(shown.bids, after)


def best(rows: TickRows, where: Where, shown: VenueBook, bid: tuple[int, int], ask: tuple[int, int]) -> VenueBook:
    """The venue shows one level of each side, price and size. Returns what it shows then."""
    return VenueBook(
        _become(rows, where, BUY, shown.bids, dict([bid])), _become(rows, where, SELL, shown.asks, dict([ask]))
    )


def show(rows: TickRows, where: Where, shown: VenueBook) -> None:
    """Puts all levels of a venue into the book, where none of them is."""
    _become(rows, where, BUY, {}, shown.bids)
    _become(rows, where, SELL, {}, shown.asks)


def withdraw(rows: TickRows, where: Where, shown: VenueBook) -> None:
    """Takes all levels of a venue out of the book."""
    _become(rows, where, BUY, shown.bids, {})
    _become(rows, where, SELL, shown.asks, {})


def _become(rows: TickRows, where: Where, side: int, before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    """Turns one side of a venue's book into another one, by orders of a level each. Levels of no quantity are none.
    Returns what is there now.
    """
    if after == before:
        return before
    best_first = sorted((price for price, qty in after.items() if qty), reverse=side == BUY)
    now = {price: after[price] for price in best_first[:LEVELS_MAX]}
    for price in before:
        if price not in now:
            _add(rows, where, side, TickKind.DELETE, price, 0)
    for price, qty in now.items():
        if price not in before:
            _add(rows, where, side, TickKind.ADD, price, qty)
        elif before[price] != qty:
            _add(rows, where, side, TickKind.REPLACE, price, qty)
    return now


def _add(rows: TickRows, where: Where, side: int, kind: TickKind, price: int, qty: int) -> None:
    ref = _level_name(where.venue, where.instrument_id, side, price)
    rows.append(
        kind,
        where.event_ns,
        NOT_A_MESSAGE,
        where.instrument_id,
        order_ref=ref,
        aux_ref=ref if kind is TickKind.REPLACE else 0,
        price=price if kind is not TickKind.DELETE else 0,
        qty=qty,
        side=side if kind is TickKind.ADD else 0,
    )
