"""Records of ``md.events``: what became of the feed's messages, for programs that know no frames.

The prices of trades stand in the books, which have to be whole when a session goes on after a crash: they are made
again of the frames that were committed before.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import numpy as np
from common.avro.codec import AvroFraming
from common.avro.compiled import Writer, writer
from common.avro.on_file import by_name
from common.contracts.market_events import MarketEventKind
from common.contracts.ticks import Ticks, decode_frame
from common.contracts.topics import MD_EVENTS, MD_TICKS
from streams.model.log import RESTORE_POLL_MS, Log, Partition
from streams.model.message import Output

from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.market_events import BBO, TRADE, TRADE_BREAK, EventBooks, Events

_GIVEN: Final = {
    TRADE: ("price_e4", "qty", "trade_id", "side"),
    TRADE_BREAK: ("trade_id",),
    BBO: ("bid_e4", "bid_size", "ask_e4", "ask_size"),
}
"""Kind → what its events say beside what all of them do."""
_KINDS: Final = {
    TRADE: MarketEventKind.TRADE,
    TRADE_BREAK: MarketEventKind.TRADE_BREAK,
    BBO: MarketEventKind.BBO,
}
_NUMBERS: Final = ("event_ns", "sequence", "price_e4", "qty", "trade_id", "bid_e4", "bid_size", "ask_e4", "ask_size")
_RESTING: Final = {1: "S", -1: "B"}
"""Aggressor → side of the order that it met."""


async def committed_ticks(log: Log, feed: str, session_ns: int) -> AsyncIterator[tuple[int, Ticks]]:
    """Partition and ticks of every frame of the feed's session, partition after partition."""
    for number in range(MD_TICKS.partitions):
        partition = Partition(MD_TICKS.name, number)
        end = await log.high_watermark(partition)
        reader = await log.read(partition, await log.low_watermark(partition))
        try:
            while reader.position < end:
                for record in await reader.poll(RESTORE_POLL_MS):
                    frame = decode_frame(record.value or b"")
                    if (frame.feed, frame.session_ns) == (feed, session_ns):
                        yield number, frame.ticks
        finally:
            await reader.close()


class EventWriter:
    """Makes records of the ticks of each partition; it has to see all of a session."""

    def __init__(self, registry: InstrumentRegistry) -> None:
        self._registry = registry
        self._books = [EventBooks() for _ in range(MD_TICKS.partitions)]
        framing = MD_EVENTS.schema.framing
        assert isinstance(framing, AvroFraming)
        file = by_name()[framing.file]
        self._schema_id = file.id
        self._writer = event_writer(file.schema())

    def pass_over(self, partition: int, ticks: Ticks) -> None:
        """Ticks whose events are written already."""
        self._books[partition].apply(ticks)

    def records(self, parts: Sequence[Ticks]) -> list[Output]:
        """Events of the ticks that each partition gets."""
        found = [books.apply(part) for books, part in zip(self._books, parts, strict=True)]
        return [output for events in found if len(events) for output in self._written(events)]

    def _written(self, events: Events) -> list[Output]:
        ids, places = np.unique(events["instrument_id"], return_inverse=True)
        instruments = [self._registry.by_id(number) for number in ids.tolist()]
        keys = [instrument.symbol.encode() for instrument in instruments]
        names = [name for each in instruments for name in (each.symbol.encode(), each.venue.encode())]
        ends = np.cumsum([len(name) for name in names]).reshape(-1, 2)
        rows = np.zeros(len(events), self._writer.row)
        rows["symbol.begin"], rows["symbol.end"] = _begins(ends)[places, 0], ends[places, 0]
        rows["venue.begin"], rows["venue.end"] = ends[places, 0], ends[places, 1]
        self._fill(events, rows)
        text = np.frombuffer(b"".join(names), np.uint8)
        values = self._writer.write(rows, text, self._schema_id).values()
        return [Output(MD_EVENTS, keys[at], value) for at, value in zip(places.tolist(), values, strict=True)]

    def _fill(self, events: Events, rows: Any) -> None:
        for name in _NUMBERS:
            rows[name] = events[name]
        kinds, sides = self._writer.symbols["kind"], self._writer.symbols["side"]
        for kind, given in _GIVEN.items():
            of_kind = events["kind"] == kind
            rows["kind"][of_kind] = kinds.index(_KINDS[kind])
            for name in given:
                rows[f"{name}.given"] |= of_kind
        for aggressor, side in _RESTING.items():
            rows["side"][events["aggressor"] == aggressor] = sides.index(side)
        rows["side.given"] &= events["aggressor"] != 0
        rows["trade_id.given"] &= (rows["trade_id"] > 0) | (events["kind"] == TRADE_BREAK)
        rows["sequence.given"] = events["sequence"] > 0


def event_writer(schema: Any) -> Writer:
    """Writer of events that are made of ticks."""
    return writer(schema, constants={"from_ticks": True})


def _begins(ends: Any) -> Any:
    """Begin of each name, which is the end of the one before it."""
    return np.concatenate(([0], ends.reshape(-1)[:-1])).reshape(ends.shape)
