"""Live from Kraken's WebSocket (v1): books and trades of some pairs, over any number of disconnects.

A connection that is lost, or silent for ``SILENT_S``, is counted and made again, after 1, 2, 4 … 30 s. The new
snapshots then say what changed meanwhile. A book whose checksum is wrong is asked for again. After a restart of the
process nothing is known of the books that the fleet holds: each is emptied by the tick before its first snapshot.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from common.contracts.ticks import Ticks
from common.feed_ticks import empty_ticks
from common.feeds import LIVE_YIELD_S, FeedAnomaly, FeedContext, FeedReader, FeedUnavailable, scaled

from ingest.feeds.connections import RETRY_S, waited
from ingest.feeds.installed import number_option
from ingest.feeds.kraken import KrakenMarket

SILENT_S: Final = 10.0
"""Kraken sends a heartbeat every second where it has nothing else to say."""
MESSAGE_BYTES_MAX: Final = 16 << 20
ASK_AGAIN_S: Final = 1.0


class KrakenClient:
    """One source: connects, subscribes, and gives ticks as they come."""

    def __init__(self, context: FeedContext, address: str) -> None:
        self._context = context
        self._address = address
        self._pairs = [pair.strip() for pair in context.options.get("pairs", "").split(",") if pair.strip()]
        if not self._pairs:
            raise FeedUnavailable("feed 'kraken-live' needs --option pairs=XBT/USD,ETH/USD")
        self._depth = number_option(context.options, "depth", 10, range(1, 1_001))
        self._connections_max = number_option(context.options, "connections_max", 0, range(1 << 31))
        self._silent_s = _seconds(context.options.get("silent_s", ""), SILENT_S)
        self._market = KrakenMarket(context, resumed=context.next_sequence > 1)
        self._sequence = context.next_sequence

    def ticks(self) -> Iterator[Ticks]:
        """Ends only after ``connections_max`` connections, where that is asked for."""
        connections, failures = 0, 0
        while not self._connections_max or connections < self._connections_max:
            connections += 1
            before = self._sequence
            yield from self._connection()
            failures = 0 if self._sequence > before else failures + 1
            self._market.lost()
            detail = f"{self._address}: connection {connections} is over"
            self._context.anomaly(FeedAnomaly.DISCONNECT, -1, self._sequence, detail)
            if connections != self._connections_max:
                yield from waited(RETRY_S[min(failures, len(RETRY_S) - 1)])

    def _connection(self) -> Iterator[Ticks]:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        try:
            with connect(self._address, max_size=MESSAGE_BYTES_MAX, open_timeout=self._silent_s) as socket:
                self._subscribe(socket, self._pairs, "book", depth=self._depth)
                self._subscribe(socket, self._pairs, "trade")
                yield from self._messages(socket)
        except (WebSocketException, OSError, EOFError):
            yield self._market.rows.take()

    def _messages(self, socket: Any) -> Iterator[Ticks]:
        heard = given = asked = time.monotonic()
        while time.monotonic() - heard < self._silent_s:
            try:
                text = socket.recv(timeout=LIVE_YIELD_S)
            except TimeoutError:
                yield self._market.rows.take() if len(self._market.rows) else empty_ticks()
                continue
            heard = time.monotonic()
            self._market.message(text.encode() if isinstance(text, str) else text, self._sequence)
            self._sequence += 1
            if heard - given >= LIVE_YIELD_S / 10:
                yield self._market.rows.take()
                given = heard
            if self._market.broken and heard - asked >= ASK_AGAIN_S:
                self._subscribe(socket, sorted(self._market.broken), "book", depth=self._depth, again=True)
                asked = heard

    def _subscribe(self, socket: Any, pairs: list[str], name: str, *, depth: int = 0, again: bool = False) -> None:
        subscription = {"name": name, "depth": depth} if depth else {"name": name}
        for event in ("unsubscribe", "subscribe") if again else ("subscribe",):
            socket.send(msgspec.json.encode({"event": event, "pair": pairs, "subscription": subscription}).decode())


def _seconds(text: str, default: float) -> float:
    """Raises FeedUnavailable for what is no length of time."""
    try:
        milliseconds = scaled(text, 3) if text else round(default * 1_000)
    except ValueError:
        milliseconds = None
    if not milliseconds or milliseconds < 0:
        raise FeedUnavailable(f"--option silent_s: {text!r} is no number of seconds")
    return milliseconds / 1_000


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of one address."""
    return KrakenClient(context, context.sources[0]).ticks()


KRAKEN_LIVE: Final = FeedReader(
    "kraken-live",
    "books and trades from Kraken's WebSocket (v1), as wss://host",
    read,
    options={
        "pairs": "pairs, like XBT/USD,ETH/USD",
        "depth": "levels a side: 10, 25, 100, 500 or 1000; default 10",
        "silent_s": "a connection that says nothing for so long is made again; default 10",
        "connections_max": "end after so many connections; default: never",
    },
    live=True,
)
