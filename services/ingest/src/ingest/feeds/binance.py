"""Captures of Binance's WebSocket streams: depth updates with a snapshot, trades, and best prices as the referee.

Source: Binance, "How to manage a local order book correctly" and "WebSocket streams": an update belongs on the snapshot
where ``U <= lastUpdateId + 1 <= u``, and each one begins where the one before ended, or says which was before it
(``pu``, futures). A book with a hole in it is emptied and waits for the next snapshot. Of a symbol's trades and
aggregate trades those are taken that come first: they are the same volume. A ``bookTicker`` whose update id is the
book's must have its best prices.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from common.contracts.ticks import Ticks
from common.feed_ticks import BUY, SELL, LevelBook, References, TickRows
from common.feeds import FeedAnomaly, FeedContext, FeedReader, scaled

from ingest.domain.lines import lines
from ingest.feeds.capture_scale import enlisted
from ingest.feeds.kraken import captured_message

ROWS_AT_ONCE: Final = 8_192
VENUE: Final = "BINANCE"
QUOTE_CURRENCIES: Final = ("USDT", "USDC", "FDUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")
WAITING_MAX: Final = 10_000
"""Messages of a symbol kept until a snapshot says what its book and its scale are."""
TICKERS_MAX: Final = 4_096
AGREES: Final = "a bookTicker that agrees with the book at its update"
BETWEEN: Final = "a bookTicker between two updates of the book"
SAME_VOLUME: Final = "a trade that is in the trades of the other kind"
OLD: Final = "an update from before the snapshot"
_MILLISECONDS_MAX: Final = 10**14
"""A stamp beyond is in microseconds."""


@dataclass(slots=True)
class _Message:
    body: dict[str, Any]
    sequence: int
    offset: int
    at_ns: int


@dataclass(slots=True)
class _Symbol:
    name: str
    scale: tuple[int, int, int] | None = None
    """Instrument id, decimals of prices, of quantities."""
    book: LevelBook | None = None
    update_id: int = 0
    """The last one of the book; 0: it waits for a snapshot."""
    trade_id: int = 0
    trade_kind: str = ""
    """Single trades or aggregate ones."""
    waiting: list[_Message] = field(default_factory=list)
    tickers: dict[int, dict[str, str]] = field(default_factory=dict)


def stamp_ns(value: int) -> int:
    """A time of Binance's, in milliseconds or, in newer captures, microseconds."""
    return value * (1_000_000 if value < _MILLISECONDS_MAX else 1_000)


class BinanceMarket:
    """Messages of a capture into ticks."""

    def __init__(self, context: FeedContext) -> None:
        self.rows = TickRows()
        self._context = context
        self._symbols: dict[str, _Symbol] = {}
        self._references = References()
        self._decoder = msgspec.json.Decoder()
        self._at_ns = 0

    def message(self, text: bytes, sequence: int, offset: int) -> None:
        """One message. What cannot be read is counted."""
        self._context.records(1)
        try:
            body = self._decoder.decode(text)
            self._place(body.get("data", body), sequence, offset)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            self._context.anomaly(FeedAnomaly.BAD_RECORD, offset, sequence, f"{error!r}: {text[:80]!r}")

    def finish(self) -> None:
        """The capture is over: what still waits for a snapshot is told; its trades are given."""
        for symbol in self._symbols.values():
            self._release(symbol, None)
            self._context.skip(BETWEEN, len(symbol.tickers))
            symbol.tickers.clear()

    def _place(self, body: dict[str, Any], sequence: int, offset: int) -> None:
        if "lastUpdateId" in body:
            self._snapshot(body, sequence, offset)
            return
        if "s" not in body:
            self._context.skip("an answer to a request")
            return
        name = str(body["s"])
        symbol = self._symbols.setdefault(name, _Symbol(name))
        if "E" in body:
            self._at_ns = max(self._at_ns, stamp_ns(int(body["E"])))
        message = _Message(body, sequence, offset, self._at_ns)
        if symbol.scale is None and len(symbol.waiting) < WAITING_MAX:
            symbol.waiting.append(message)
        else:
            if symbol.scale is None:
                self._release(symbol, None)
            self._apply(symbol, message)

    def _snapshot(self, body: dict[str, Any], sequence: int, offset: int) -> None:
        """It does not say its symbol: that of the updates around its id, or the only one."""
        last = int(body["lastUpdateId"])
        near = [symbol for symbol in self._symbols.values() if _reaches(symbol, last)] or list(self._symbols.values())
        if len(near) != 1:
            detail = f"a snapshot at {last} that {len(near)} symbols could be of"
            self._context.anomaly(FeedAnomaly.UNKNOWN_INSTRUMENT, offset, sequence, detail)
            return
        message = _Message(body, sequence, offset, self._at_ns)
        self._release(near[0], message)

    def _release(self, symbol: _Symbol, snapshot: _Message | None) -> None:
        """Scale, then the book, then everything that waited. Ticks have the number of the message that let them go."""
        waiting, symbol.waiting = symbol.waiting, []
        last = snapshot or (waiting[-1] if waiting else None)
        if last is None:
            return
        if symbol.scale is None:
            self._enlist(symbol, [*waiting, *([snapshot] if snapshot else [])], last)
        if symbol.scale is None:
            self._context.skip("a message of a symbol that has no instrument", len(waiting))
            return
        if snapshot is not None:
            self._begin(symbol, snapshot)
        for message in waiting:
            message.sequence = last.sequence
            self._apply(symbol, message)

    def _enlist(self, symbol: _Symbol, messages: list[_Message], last: _Message) -> None:
        seen = list[tuple[str, str]]()
        for message in messages:
            body = message.body
            for levels in (body.get("bids", ()), body.get("asks", ())):
                seen += [(level[0], level[1]) for level in levels]
            if "U" in body:
                seen += [(level[0], level[1]) for level in (*body["b"], *body["a"])]
            if "p" in body:
                seen.append((body["p"], body["q"]))
        currency = next((name for name in QUOTE_CURRENCIES if symbol.name.endswith(name)), "USD")
        listed = enlisted(self._context, symbol.name, VENUE, currency, seen, offset=last.offset, sequence=last.sequence)
        if listed is not None:
            symbol.scale = (listed.instrument_id, listed.price_decimals, listed.qty_decimals)
            symbol.book = LevelBook(self.rows, listed.instrument_id, self._references)

    def _begin(self, symbol: _Symbol, snapshot: _Message) -> None:
        symbol.update_id = int(snapshot.body["lastUpdateId"])
        if symbol.book is not None:
            for side, levels in ((BUY, snapshot.body["bids"]), (SELL, snapshot.body["asks"])):
                scaled_levels = self._levels(symbol, levels, snapshot)
                symbol.book.become(snapshot.at_ns, snapshot.sequence, side, {p: q for p, q in scaled_levels if q})

    def _apply(self, symbol: _Symbol, message: _Message) -> None:
        body = message.body
        kind = body.get("e", "bookTicker")
        if kind == "depthUpdate":
            self._update(symbol, message)
        elif kind in ("trade", "aggTrade"):
            self._trade(symbol, message)
        elif kind == "bookTicker":
            self._ticker(symbol, body, message)
        else:
            self._context.skip(f"event {kind[:20]}")

    def _update(self, symbol: _Symbol, message: _Message) -> None:
        body, book = message.body, symbol.book
        first, last = int(body["U"]), int(body["u"])
        if not symbol.update_id or book is None:
            self._context.skip("an update of a book that waits for its snapshot")
            return
        if last <= symbol.update_id:
            self._context.skip(OLD)
            return
        is_next = first <= symbol.update_id + 1 or body.get("pu") == symbol.update_id
        if not is_next:
            detail = f"{symbol.name}: updates {symbol.update_id + 1} to {first - 1} never came"
            missing = first - symbol.update_id - 1
            self._context.anomaly(FeedAnomaly.SEQUENCE_GAP, message.offset, message.sequence, detail, count=missing)
            symbol.update_id = 0
            for side in (BUY, SELL):
                book.become(message.at_ns, message.sequence, side, {})
            return
        for side, levels in ((BUY, body["b"]), (SELL, body["a"])):
            for price, qty in self._levels(symbol, levels, message):
                book.set(stamp_ns(int(body["E"])), message.sequence, side, price, qty)
        symbol.update_id = last
        self._compare(symbol, message)

    def _levels(self, symbol: _Symbol, levels: list[list[str]], message: _Message) -> Iterator[tuple[int, int]]:
        scale = symbol.scale or (0, 0, 0)
        for price_text, qty_text, *_ in levels:
            price, qty = scaled(price_text, scale[1]), scaled(qty_text, scale[2])
            if price is None or qty is None or price <= 0 or qty < 0:
                detail = f"{symbol.name}: {qty_text} at {price_text}"
                self._context.anomaly(FeedAnomaly.OFF_SCALE, message.offset, message.sequence, detail)
            else:
                yield price, qty

    def _trade(self, symbol: _Symbol, message: _Message) -> None:
        body, scale = message.body, symbol.scale or (0, 0, 0)
        symbol.trade_kind = symbol.trade_kind or body["e"]
        if symbol.trade_kind != body["e"]:
            self._context.skip(SAME_VOLUME)
            return
        is_single = body["e"] == "trade"
        number = int(body["t"] if is_single else body["a"])
        if symbol.trade_id and number <= symbol.trade_id:
            self._context.anomaly(FeedAnomaly.DUPLICATE, message.offset, message.sequence, f"trade {number}")
            return
        if symbol.trade_id and number > symbol.trade_id + 1:
            detail = f"{symbol.name}: trades {symbol.trade_id + 1} to {number - 1} never came"
            missing = number - symbol.trade_id - 1
            self._context.anomaly(FeedAnomaly.SEQUENCE_GAP, message.offset, message.sequence, detail, count=missing)
        symbol.trade_id = number
        for price, qty in self._levels(symbol, [[body["p"], body["q"]]], message):
            side = BUY if body["m"] else SELL  # m: the buyer's order rested
            self.rows.trade(stamp_ns(int(body["T"])), message.sequence, scale[0], price, qty, match=number, side=side)

    def _ticker(self, symbol: _Symbol, body: dict[str, Any], message: _Message) -> None:
        if symbol.book is None or int(body["u"]) < symbol.update_id:
            self._context.skip(BETWEEN)
            return
        if len(symbol.tickers) >= TICKERS_MAX:
            del symbol.tickers[next(iter(symbol.tickers))]
            self._context.skip(BETWEEN)
        symbol.tickers[int(body["u"])] = body
        self._compare(symbol, message)

    def _compare(self, symbol: _Symbol, message: _Message) -> None:
        """The exchange's own best prices at exactly this update, if it said them."""
        ticker = symbol.tickers.pop(symbol.update_id, None)
        if len(symbol.tickers) and min(symbol.tickers) < symbol.update_id:
            for passed in [update for update in symbol.tickers if update < symbol.update_id]:
                del symbol.tickers[passed]
                self._context.skip(BETWEEN)
        if ticker is None or symbol.book is None or symbol.scale is None:
            return
        _, price_decimals, qty_decimals = symbol.scale
        said = tuple(
            scaled(ticker[name], decimals)
            for name, decimals in (
                *(("b", price_decimals), ("B", qty_decimals)),
                *(("a", price_decimals), ("A", qty_decimals)),
            )
        )
        if said == symbol.book.best():
            self._context.skip(AGREES)
        else:
            detail = f"{symbol.name} at {symbol.update_id}: the exchange says {said}, the book {symbol.book.best()}"
            self._context.anomaly(FeedAnomaly.BAD_CHECKSUM, message.offset, message.sequence, detail)


def _reaches(symbol: _Symbol, last: int) -> bool:
    """Whether updates that wait go on from a snapshot at this id, or the book has a hole that it may fill."""
    updates = [message.body for message in symbol.waiting if "U" in message.body]
    if not updates:
        return bool(symbol.scale) and not symbol.update_id
    return int(updates[0]["U"]) <= last + 1 and last <= int(updates[-1]["u"]) + WAITING_MAX


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of a capture with one message a line, with or without the time of its arrival before it."""
    market = BinanceMarket(context)
    sequence = 0
    for source in context.sources:
        for offset, line in lines(context.chunks(source)):
            sequence += 1
            market.message(captured_message(line) or b"", sequence, offset)
            if len(market.rows) >= ROWS_AT_ONCE:
                yield market.rows.take()
    market.finish()
    yield market.rows.take()


BINANCE: Final = FeedReader("binance", "a capture of Binance's streams and depth snapshots, one message a line", read)
