"""Ticks of many market events at once, from columns that a compiled reader has read: what ``event_ticks`` says of each.

An event that is not what it should be is none of the batch's: ``sound`` says which are.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from common.avro.compiled import Chosen, Given, Number, Text
from common.contracts.market_events import NEEDED, MarketEventKind
from common.contracts.ticks import TICK, TickFlag, TickKind, Ticks, heartbeat
from common.contracts.values import Side
from common.feed_ticks import BUY, SELL, TickRows

from signals.domain.event_ticks import OURS, VenueBook, Where, best, quote

Array = npt.NDArray[Any]
_NULLABLE: Final = ("price_e4", "qty", "trade_id", "bid_e4", "bid_size", "ask_e4", "ask_size", "sequence")
COLUMNS: Final = (
    *(Chosen("kind", kind.value, f"is_{kind.value}") for kind in MarketEventKind),
    Text("symbol", "symbol_begin", "symbol_end"),
    Text("venue", "venue_begin", "venue_end"),
    Number("event_ns", "event_ns"),
    *(column for name in _NULLABLE for column in (Number(name, name), Given(name, f"{name}_given"))),
    Given("side", "side_given"),
    Chosen("side", Side.BUY.value, "is_buy"),
    Number("from_ticks", "from_ticks"),
)
"""Columns that are read of an event."""
_TRADE, _BREAK, _QUOTE, _BBO, _BEAT = (f"is_{kind.value}" for kind in MarketEventKind)


UNANNOUNCED: Final = -1
NO_SYMBOL: Final = -2


class Instruments(dict[bytes, int]):
    """Symbol → instrument id, UNANNOUNCED or NO_SYMBOL; each is looked up once."""

    def __init__(self, look_up: Callable[[str], int]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, symbol: bytes) -> int:
        found = self[symbol] = self._look_up(symbol.decode())
        return found


class Venues(dict[bytes, Any]):
    """Venue → the hash that the names of its trades begin with, None where it is no venue's name."""

    def __init__(self, is_venue: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_venue = is_venue

    def __missing__(self, venue: bytes) -> Any:
        found = self[venue] = blake2b(venue + b"\0", digest_size=8) if self._is_venue(venue.decode()) else None
        return found


class Events(NamedTuple):
    """Events in columns."""

    rows: Array
    instruments: Array
    """int64, as ``Instruments`` has them."""
    venues: Sequence[bytes]
    hashes: Venues

    def part(self, begin: int, end: int) -> "Events":
        """Some of them."""
        return Events(self.rows[begin:end], self.instruments[begin:end], self.venues[begin:end], self.hashes)


def events_of(rows: Array, text: bytes, instruments: Instruments, hashes: Venues) -> Events:
    """``text``: what the rows' texts point into."""
    symbols = zip(rows["symbol_begin"].tolist(), rows["symbol_end"].tolist(), strict=True)
    venues = zip(rows["venue_begin"].tolist(), rows["venue_end"].tolist(), strict=True)
    ids = np.fromiter((instruments[text[begin:end]] for begin, end in symbols), np.int64, len(rows))
    return Events(rows, ids, [text[begin:end] for begin, end in venues], hashes)


def sound(events: Events, until_ns: int) -> Array:
    """bool[n]: which say all that their kind needs, of a known instrument and not of a time after ``until_ns``."""
    rows = events.rows
    good = (
        (rows["event_ns"] >= 0)
        & (rows["event_ns"] <= until_ns)
        & (events.instruments >= np.where(rows[_BEAT], UNANNOUNCED, 0))
    )
    for name in _NULLABLE:
        good &= rows[name] >= 0
    for kind, names in NEEDED.items():
        for name in names:
            good &= ~rows[f"is_{kind.value}"] | rows[f"{name}_given"]
    good &= ~rows[_TRADE] | (rows["qty"] > 0)
    known = [events.hashes[venue] is not None for venue in events.venues]
    return np.asarray(good & np.array(known, bool))


class Clock(NamedTuple):
    """When which partition of ``md.ticks`` gets a heartbeat. ``last_ns``: of each partition; -1 where none was."""

    last_ns: list[int]
    apart_ns: int

    def beats(self, events: Events, partitions: Array) -> list[tuple[int, int]]:
        """Number of the event, and partition; a heartbeat event is for every partition whose time is earlier."""
        found, last, apart_ns = [], self.last_ns, self.apart_ns
        every = range(len(last))
        columns = (events.rows["event_ns"].tolist(), partitions.tolist(), events.rows[_BEAT].tolist())
        for at, (event_ns, partition, is_beat) in enumerate(zip(*columns, strict=True)):
            for number in every if is_beat else (partition,):
                if last[number] < 0 or event_ns >= last[number] + (1 if is_beat else apart_ns):
                    last[number] = event_ns
                    found.append((at, number))
        return found


class Placed(NamedTuple):
    """Ticks in the order in which they are written, partition by partition."""

    ticks: Ticks
    partitions: Array
    of: Array
    """int64: the number of the event that each is of."""


Books = MutableMapping[tuple[int, bytes], VenueBook]
"""Instrument and venue → what the venue shows of it."""


def ticks_of_many(events: Events, books: Books, clock: Clock, partitions: Array) -> Placed:
    """All are sound. ``books`` and ``clock`` are brought up to date; ``partitions``: those of the instruments."""
    trades, traded = _trades(events)
    levels, changed = _levels(events, books)
    beats = clock.beats(events, partitions)
    beaten = np.array([at for at, _ in beats], np.int64)
    times = [heartbeat(int(events.rows["event_ns"][at])) for at, _ in beats]
    ticks = np.concatenate((trades, levels, *times))
    of = np.concatenate((traded, changed, beaten))
    where = np.concatenate((partitions[traded], partitions[changed], np.array([n for _, n in beats], np.int64)))
    after = np.zeros(len(of), bool)  # a heartbeat follows the ticks of its event
    after[len(traded) + len(changed) :] = True
    order = np.lexsort((after, of, where))
    return Placed(ticks[order], where[order], of[order])


def _trades(events: Events) -> tuple[Ticks, Array]:
    """Trades and broken trades, and the number of each."""
    (which,) = np.nonzero(events.rows[_TRADE] | events.rows[_BREAK])
    rows = events.rows[which]
    is_trade = rows[_TRADE]
    ticks = np.zeros(len(which), TICK)
    ticks["event_ns"], ticks["instrument_id"] = rows["event_ns"], events.instruments[which]
    ticks["kind"] = np.where(is_trade, int(TickKind.TRADE), int(TickKind.BROKEN_TRADE))
    ticks["aux_ref"] = _matches(events, which, is_trade)
    for column, said in (("price_e4", "price_e4"), ("qty", "qty")):
        ticks[column] = np.where(is_trade, rows[said], 0)
    sides = np.where(rows["is_buy"], BUY, SELL)
    ticks["side"] = np.where(is_trade & rows["side_given"], sides, 0)
    ticks["flags"] = np.where(is_trade, int(TickFlag.PRINTABLE), 0)
    return ticks, which


def _matches(events: Events, which: Array, is_trade: Array) -> Array:
    """Match numbers as ``event_ticks.name_of`` makes them; 0 for a trade without a number."""
    digests, hashes, venues = [], events.hashes, events.venues
    numbers = events.rows["trade_id"][which]
    for at, number in zip(which.tolist(), numbers.tolist(), strict=True):
        digest = hashes[venues[at]].copy()
        digest.update(b"%d" % number)
        digests.append(digest.digest())
    names = np.frombuffer(b"".join(digests), np.uint64) | np.uint64(OURS)
    return np.where(is_trade & (numbers == 0), np.uint64(0), names)


def _levels(events: Events, books: Books) -> tuple[Ticks, Array]:
    """Changes in venues' books as ticks, and the number of the event of each tick."""
    (which,) = np.nonzero(events.rows[_QUOTE] | events.rows[_BBO])
    ticks, counts = TickRows(), []
    for at, row in zip(which.tolist(), _said(events.rows[which]), strict=True):
        event_ns, is_quote, is_buy, price, qty, *sides = row
        venue, instrument_id = events.venues[at], int(events.instruments[at])
        where, key = Where(venue.decode(), instrument_id, event_ns), (instrument_id, venue)
        before = len(ticks)
        if is_quote:
            books[key] = quote(ticks, where, books[key], is_buy, price, qty)
        else:
            books[key] = best(ticks, where, books[key], (sides[0], sides[1]), (sides[2], sides[3]))
        counts.append(len(ticks) - before)
    return ticks.take(), np.repeat(which, counts)


def _said(rows: Array) -> Iterator[tuple[Any, ...]]:
    names = ("event_ns", _QUOTE, "is_buy", "price_e4", "qty", "bid_e4", "bid_size", "ask_e4", "ask_size")
    return zip(*(rows[name].tolist() for name in names), strict=True)
