"""LOBSTER files: a message file, its order book file, or the published archive that has both.

The order book file says the published levels after every message, so books are made from it; the message file alone
cannot say them, since orders beyond the published levels are not in it (it is read order by order all the same, where
there is no other). Trades are messages of type 4 (visible), 5 (hidden) and 6 (cross). Prices are in 1e-4.
"""

import zipfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final

from common.contracts.ticks import TickFlag, TickKind, Ticks
from common.feed_ticks import BUY, SELL, LevelBook, References, TickRows
from common.feeds import FeedAnomaly, FeedContext, FeedReader, FeedUnreadable, Listing

from ingest.domain.lines import lines
from ingest.feeds.itch_messages import NASDAQ_ZONE, reading_of

ROWS_AT_ONCE: Final = 16_384
ZIP_PIECE_BYTES: Final = 1 << 20
_SUBMIT, _CANCEL, _DELETE, _VISIBLE, _HIDDEN, _CROSS, _HALT = range(1, 8)
_HALT_STATES: Final = {-1: ord("H"), 0: ord("Q"), 1: ord("T")}
_EMPTY_PRICE: Final = 9_999_999_999
_PRINTABLE: Final = int(TickFlag.PRINTABLE)
Line = tuple[int, bytes]


class LobsterDay:
    """Messages of one instrument and day."""

    def __init__(self, context: FeedContext, symbol: str, midnight_ns: int, *, has_book: bool) -> None:
        listed = context.enlist(symbol, Listing(round_lot=100))
        if listed is None:
            raise FeedUnreadable(f"{symbol!r} is no symbol")
        self.rows = TickRows()
        self._context = context
        self._midnight_ns = midnight_ns
        self._instrument = listed.instrument_id
        self._has_book = has_book
        self._book = LevelBook(self.rows, listed.instrument_id, References())
        self._last_ns = midnight_ns

    def message(self, sequence: int, offset: int, line: bytes) -> None:
        """A line of the message file. One that cannot be read is counted."""
        try:
            time, kind, order, size, price, direction = line.split(b",")[:6]
            seconds, _, fraction = time.partition(b".")
            at_ns = self._midnight_ns + int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
            self._apply(sequence, at_ns, int(kind), int(order), int(size), int(price), int(direction))
            self._last_ns = at_ns
        except (ValueError, OverflowError) as error:
            self._context.anomaly(FeedAnomaly.BAD_RECORD, offset, sequence, f"{error}: {line[:80]!r}")

    def _apply(self, sequence: int, at_ns: int, kind: int, order: int, size: int, price: int, direction: int) -> None:
        rows, instrument, side = self.rows, self._instrument, BUY if direction > 0 else SELL
        if kind == _HALT:
            state = _HALT_STATES[max(-1, min(1, price))]
            rows.append(TickKind.TRADING_ACTION, at_ns, sequence, instrument, detail=state)
            return
        if not (0 < size < 1 << 63 and 0 <= price < 1 << 63 and 0 <= order < 1 << 64):
            raise ValueError("a number that no message has")
        if kind in (_HIDDEN, _CROSS) or (kind == _VISIBLE and self._has_book):
            rows.trade(at_ns, sequence, instrument, price, size, match=sequence, side=side)
        elif self._has_book and kind in (_SUBMIT, _CANCEL, _DELETE):
            self._context.skip("an order whose effect the book file says")
        elif kind == _SUBMIT:
            rows.append(TickKind.ADD, at_ns, sequence, instrument, order_ref=order, price=price, qty=size, side=side)
        elif kind == _CANCEL:
            rows.append(TickKind.CANCEL, at_ns, sequence, instrument, order_ref=order, qty=size)
        elif kind == _DELETE:
            rows.append(TickKind.DELETE, at_ns, sequence, instrument, order_ref=order)
        elif kind == _VISIBLE:
            rows.append(
                *(TickKind.EXECUTED, at_ns, sequence, instrument),
                order_ref=order, aux_ref=sequence, qty=size, flags=_PRINTABLE,
            )  # fmt: skip
        else:
            raise ValueError(f"message type {kind}")

    def book(self, sequence: int, offset: int, line: bytes) -> None:
        """A line of the order book file: the levels after the message of the same line."""
        try:
            values = [int(value) for value in line.split(b",")]
            if not values or len(values) % 4:
                raise ValueError(f"{len(values)} columns")
            asks, bids = _levels(values, 0), _levels(values, 2)
        except ValueError as error:
            self._context.anomaly(FeedAnomaly.BAD_RECORD, offset, sequence, f"{error}: {line[:80]!r}")
            return
        self._book.become(self._last_ns, sequence, SELL, asks)
        self._book.become(self._last_ns, sequence, BUY, bids)


def _levels(values: list[int], first: int) -> dict[int, int]:
    """Price to size; a level that is not there has a price beyond all others."""
    pairs = zip(values[first::4], values[first + 1 :: 4], strict=True)
    return {price: size for price, size in pairs if size > 0 and 0 < price < _EMPTY_PRICE}


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of one day. Raises FeedUnreadable without a message file."""
    reading = reading_of(context)
    messages, book, name = _files(context)
    day = LobsterDay(context, name.split("_")[0], reading.session_ns, has_book=book is not None)
    pairs: Iterator[tuple[Line | None, Line | None]]
    pairs = ((line, None) for line in messages) if book is None else zip_longest(messages, book)
    for sequence, (message, levels) in enumerate(pairs, 1):
        context.records(1)
        if message is not None:
            day.message(sequence, *message)
        if levels is not None:
            day.book(sequence, *levels)
        if book is not None and (message is None or levels is None):
            which = "message" if message is None else "order book"
            context.anomaly(FeedAnomaly.TRUNCATED, -1, sequence, f"the {which} file has no line {sequence}")
        if len(day.rows) >= ROWS_AT_ONCE:
            yield day.rows.take()
    yield day.rows.take()


def _files(context: FeedContext) -> tuple[Iterator[Line], Iterator[Line] | None, str]:
    """(lines of the message file, of the order book file if there is one, name of the message file).

    Raises FeedUnreadable where there is no message file, or several of a kind: a day is read by itself.
    """
    found = dict[str, tuple[str, Iterator[Line]]]()
    for source in context.sources:
        for name, opened in _parts(context, source):
            kind = _kind(name)
            if kind in found:
                raise FeedUnreadable(
                    f"{found[kind][0]} and {Path(name).name}: two {kind} files; read one day at a time"
                )
            if kind:
                found[kind] = (Path(name).name, opened)
    if "message" not in found:
        raise FeedUnreadable(f"no message file of LOBSTER among {', '.join(context.sources)}")
    return found["message"][1], found["orderbook"][1] if "orderbook" in found else None, found["message"][0]


def _parts(context: FeedContext, source: str) -> Iterator[tuple[str, Iterator[Line]]]:
    """(name, lines) of a file, or of all in an archive. Raises FeedUnreadable for an archive that is cut off."""
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
        yield from ((name, lines(_member(source, name))) for name in names)
    elif Path(source).suffix == ".zip":
        raise FeedUnreadable(f"{source}: no zip archive, or one that is cut off: its list of members is not there")
    else:
        yield source, lines(context.chunks(source))


def _kind(name: str) -> str:
    parts = Path(name).name.lower().split("_")
    return next((kind for kind in ("message", "orderbook") if kind in parts), "")


def _member(archive: str, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as file:
            while piece := file.read(ZIP_PIECE_BYTES):
                yield piece
    except (zipfile.BadZipFile, OSError) as error:
        raise FeedUnreadable(f"{archive}: {member}: {error}") from error


LOBSTER: Final = FeedReader(
    "lobster",
    "LOBSTER message and order book files, or the archive that has both",
    read,
    zone=NASDAQ_ZONE,
    needs_day=True,
)
