"""Kraken's WebSocket protocol, version 1: books with the exchange's own checksum, and trades.

Source: Kraken, "WebSockets API v1", channels ``book`` and ``trade``, and its checksum guide: CRC-32 over the ten best
asks and bids, prices and volumes as they were sent, without points and leading zeros. A book whose checksum is wrong is
emptied and waits for the next snapshot.
"""

import zlib
from collections.abc import Iterator
from heapq import nlargest, nsmallest
from typing import Any, Final

import msgspec
from common.contracts.ticks import Ticks
from common.feed_ticks import BUY, SELL, LevelBook, References, TickRows
from common.feeds import FeedAnomaly, FeedContext, FeedReader, scaled

from ingest.domain.lines import lines
from ingest.feeds.capture_scale import enlisted

ROWS_AT_ONCE: Final = 8_192
CHECKED_LEVELS: Final = 10
VENUE: Final = "KRAKEN"
NANOSECONDS: Final = 9
WAITING: Final = "an update of a book that waits for its snapshot"
VERIFIED: Final = "a checksum that agrees (no message of its own)"
_EVENTS: Final = frozenset({"heartbeat", "systemStatus", "subscriptionStatus", "pong"})


class KrakenBook:
    """The book of one pair, and the texts of its levels, of which the checksum is made."""

    def __init__(self, book: LevelBook, depth: int) -> None:
        self.levels = book
        self.depth = depth
        self.texts: tuple[dict[int, str], dict[int, str]] = {}, {}
        """Bids and asks: price to what the checksum takes of the level."""
        self.is_valid = False

    def set(self, at_ns: int, sequence: int, side: int, price: tuple[int, str], qty: tuple[int, str]) -> None:
        """One level, as integers and as it was written."""
        texts = self.texts[side == SELL]
        self.levels.set(at_ns, sequence, side, price[0], qty[0])
        if qty[0]:
            texts[price[0]] = _digits(price[1]) + _digits(qty[1])
        else:
            texts.pop(price[0], None)

    def trim(self, at_ns: int, sequence: int) -> None:
        """Levels beyond the depth that was asked for: the exchange says no more of them."""
        for side, texts, best in ((BUY, self.texts[0], nlargest), (SELL, self.texts[1], nsmallest)):
            if len(texts) > self.depth:
                for price in texts.keys() - set(best(self.depth, texts)):
                    del texts[price]
                    self.levels.set(at_ns, sequence, side, price, 0)

    def clear(self, at_ns: int, sequence: int) -> None:
        """Nothing is known any more."""
        self.is_valid = False
        for side, texts in ((BUY, self.texts[0]), (SELL, self.texts[1])):
            self.levels.become(at_ns, sequence, side, {})
            texts.clear()

    def checksum(self) -> int:
        """The checksum that the exchange would send for this book."""
        bids, asks = self.texts
        best = [asks[price] for price in nsmallest(CHECKED_LEVELS, asks)]
        best += [bids[price] for price in nlargest(CHECKED_LEVELS, bids)]
        return zlib.crc32("".join(best).encode())


def _digits(text: str) -> str:
    return text.replace(".", "").lstrip("0")


class KrakenMarket:
    """Messages of a connection, or of several one after the other, into ticks."""

    def __init__(self, context: FeedContext, *, resumed: bool = False) -> None:
        self.rows = TickRows()
        self._resumed = resumed
        """Whether the fleet may hold books of which nothing is known here."""
        self.books: dict[str, KrakenBook] = {}
        self.broken: set[str] = set()
        """Pairs whose book is no longer known: a live client asks for them again."""
        self._scales: dict[str, tuple[int, int, int]] = {}
        self._refused: set[str] = set()
        self._at_ns = 1
        self._context = context
        self._references = References()
        self._decoder = msgspec.json.Decoder()

    def message(self, text: bytes, sequence: int, offset: int = -1) -> None:
        """One message. What cannot be read is counted."""
        self._context.records(1)
        try:
            body = self._decoder.decode(text)
            if isinstance(body, dict):
                self._event(body, sequence, offset)
            else:
                self._data(body, sequence, offset)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            self._context.anomaly(FeedAnomaly.BAD_RECORD, offset, sequence, f"{error}: {text[:80]!r}")

    def lost(self) -> None:
        """The connection is gone: books stay as they are until the new snapshots say what has changed."""
        for pair, book in self.books.items():
            book.is_valid = False
            self.broken.add(pair)

    def _event(self, body: dict[str, Any], sequence: int, offset: int) -> None:
        if "channel" in body or "method" in body:
            raise ValueError("a message of WebSocket v2, which is not read")
        event = body.get("event")
        if event == "error" or body.get("status") == "error":
            said = str(body.get("errorMessage"))
            self._context.anomaly(FeedAnomaly.UNKNOWN_INSTRUMENT, offset, sequence, said)
        elif event in _EVENTS:
            self._context.skip(f"event {event}")
        else:
            raise ValueError(f"event {str(event)[:40]!r}")

    def _data(self, body: list[Any], sequence: int, offset: int) -> None:
        channel, pair = body[-2], body[-1]
        if channel == "trade":
            self._trades(pair, body[1], sequence, offset)
        elif channel.startswith("book-"):
            parts = {key: value for part in body[1:-2] for key, value in part.items()}
            self._book(pair, int(channel[5:]), parts, sequence, offset)
        else:
            self._context.skip(f"channel {channel.partition('-')[0][:20]}")

    def _scale(self, pair: str, seen: list[tuple[str, str]], sequence: int, offset: int) -> tuple[int, int, int] | None:
        """(instrument id, decimals of prices, of quantities); None where the pair can have no instrument."""
        if pair not in self._scales and pair not in self._refused:
            base, _, quote = pair.partition("/")
            symbol = pair if self._context.listing(pair) else base + quote
            listed = enlisted(self._context, symbol, VENUE, quote, seen, offset=offset, sequence=sequence)
            if listed is None:
                self._refused.add(pair)
            else:
                self._scales[pair] = (listed.instrument_id, listed.price_decimals, listed.qty_decimals)
        return self._scales.get(pair)

    def _trades(self, pair: str, trades: list[list[str]], sequence: int, offset: int) -> None:
        scale = self._scale(pair, [(trade[0], trade[1]) for trade in trades], sequence, offset)
        if scale is None:
            return
        for price_text, qty_text, time, side, *_ in trades:
            price, qty, at_ns = scaled(price_text, scale[1]), scaled(qty_text, scale[2]), scaled(time, NANOSECONDS)
            if price is None or qty is None or at_ns is None:
                self._off_scale(pair, price_text, qty_text, sequence, offset)
            else:
                resting = SELL if side == "b" else BUY
                self.rows.trade(at_ns, sequence, scale[0], price, qty, match=sequence, side=resting)

    def _book(self, pair: str, depth: int, parts: dict[str, Any], sequence: int, offset: int) -> None:
        is_snapshot = "as" in parts or "bs" in parts
        bids, asks = parts.get("bs" if is_snapshot else "b", []), parts.get("as" if is_snapshot else "a", [])
        scale = self._scale(pair, [(level[0], level[1]) for level in (*bids, *asks)], sequence, offset)
        if scale is None:
            self._context.skip("a book of a pair that has no instrument")
            return
        if pair not in self.books:
            self.books[pair] = KrakenBook(LevelBook(self.rows, scale[0], self._references), depth)
            if self._resumed:
                self.rows.clear(self._stamp(bids, asks), sequence, scale[0])
        book = self.books[pair]
        at_ns = self._stamp(bids, asks)
        if is_snapshot:
            self._snapshot(pair, book, scale, bids, asks, at_ns, sequence, offset)
        elif not book.is_valid:
            self._context.skip(WAITING)
        else:
            for side, levels in ((BUY, bids), (SELL, asks)):
                for level in levels:
                    self._set(pair, book, scale, side, level, at_ns, sequence, offset)
            book.trim(at_ns, sequence)
            self._verify(pair, book, parts, at_ns, sequence, offset)

    def _stamp(self, bids: Any, asks: Any) -> int:
        """The newest stamp of the levels; that of the message before, where it has none."""
        newest = max((scaled(level[2], NANOSECONDS) or 0 for level in (*bids, *asks)), default=0)
        self._at_ns = max(newest, 1) if newest else self._at_ns
        return self._at_ns

    def _snapshot(
        self, pair: str, book: KrakenBook, scale: tuple[int, int, int], bids: Any, asks: Any, at_ns: int,
        sequence: int, offset: int,
    ) -> None:  # fmt: skip
        """Makes ticks of what differs from the book as it was; after a disconnect that is what happened meanwhile."""
        book.is_valid = True
        self.broken.discard(pair)
        for side, levels in ((BUY, bids), (SELL, asks)):
            texts = book.texts[side == SELL]
            there = {scaled(level[0], scale[1]) for level in levels}
            for price in [price for price in texts if price not in there]:
                book.set(at_ns, sequence, side, (price, ""), (0, ""))
            for level in levels:
                self._set(pair, book, scale, side, level, at_ns, sequence, offset)

    def _set(
        self, pair: str, book: KrakenBook, scale: tuple[int, int, int], side: int, level: list[str], at_ns: int,
        sequence: int, offset: int,
    ) -> None:  # fmt: skip
        price, qty = scaled(level[0], scale[1]), scaled(level[1], scale[2])
        if price is None or qty is None or price <= 0 or qty < 0:
            self._off_scale(pair, level[0], level[1], sequence, offset)
        else:
            book.set(at_ns, sequence, side, (price, level[0]), (qty, level[1]))

    def _verify(
        self, pair: str, book: KrakenBook, parts: dict[str, Any], at_ns: int, sequence: int, offset: int
    ) -> None:
        if "c" not in parts:
            return
        ours = book.checksum()
        if ours == int(parts["c"]):
            self._context.skip(VERIFIED)
            return
        detail = f"{pair}: the exchange says {parts['c']}, the book has {ours}"
        self._context.anomaly(FeedAnomaly.BAD_CHECKSUM, offset, sequence, detail)
        book.clear(at_ns, sequence)
        self.broken.add(pair)

    def _off_scale(self, pair: str, price: str, qty: str, sequence: int, offset: int) -> None:
        self._context.anomaly(FeedAnomaly.OFF_SCALE, offset, sequence, f"{pair}: {qty} at {price}")


def captured_message(line: bytes) -> bytes | None:
    """The message of a line ``time: message``; None for what the client sent, and for lines about the connection."""
    if line.startswith(b"wss://"):
        return None
    at = min((found for found in (line.find(b"{"), line.find(b"[")) if found >= 0), default=-1)
    return line[at:] if at >= 0 else line


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of a capture with one message a line, with or without its time before it."""
    market = KrakenMarket(context)
    sequence = 0
    for source in context.sources:
        for offset, line in lines(context.chunks(source)):
            sequence += 1
            text = captured_message(line)
            if text is None:
                context.records(1)
                context.skip("a line of the client's own")
                market.lost()
                continue
            market.message(text, sequence, offset)
            if len(market.rows) >= ROWS_AT_ONCE:
                yield market.rows.take()
    yield market.rows.take()


KRAKEN: Final = FeedReader("kraken", "a capture of Kraken's WebSocket messages (v1), one a line", read)
