"""Databento files (DBN): orders, trades and best prices. Definitions, there or in a file before, say the scales."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from common.contracts.ticks import TICK, Ticks
from common.feeds import FeedAnomaly, FeedContext, FeedReader, FeedUnreadable, Listing

from ingest.domain import dbn
from ingest.domain.byte_stream import ByteStream
from ingest.domain.dbn_metadata import (
    PRELUDE,
    MetadataError,
    mapped_symbol,
    metadata_size,
    parse_metadata,
    price_increment,
)
from ingest.domain.dbn_records import (
    LEVEL_TYPES,
    MBO,
    NAMES,
    PRICE_DECIMALS,
    SYMBOL_MAPPING,
    TRADE,
    TRADE_BYTES,
    WORD,
)

ROWS_AT_ONCE: Final = 1 << 16
E4_DECIMALS: Final = 4
_ROW_WORDS: Final = TICK.itemsize // 8
_PASSED: Final = "a record that changes neither book nor volume by itself"
_TICK_TYPES: Final = (TRADE, MBO, *LEVEL_TYPES)


class DbnDecoder:
    """One reading: instruments, scales and counters over all its files."""

    def __init__(self, context: FeedContext) -> None:
        self.sequence = 1
        self._context = context
        self._state = dbn.new_state()
        self._symbols: dict[int, str] = {}
        self._increments: dict[int, int] = {}
        self._named = 0
        self._venue = ""
        self._version = 0
        self._seen = np.zeros(256, np.int64)
        """Records by type that were told of."""

    def ticks(self, source: str) -> Iterator[Ticks]:
        """Ticks of a file. Raises FeedUnreadable where it is no DBN, or a record has no length."""
        stream = ByteStream(self._context.chunks(source))
        try:
            prelude = stream.take(PRELUDE.size)
            metadata = parse_metadata(prelude[3] if len(prelude) > 3 else 0, stream.take(metadata_size(prelude)))
        except MetadataError as error:
            raise FeedUnreadable(f"{source}: {error}", stream.offset) from error
        self._symbols |= metadata.symbols
        self._version = metadata.version
        self._venue = metadata.dataset.partition(".")[0] or "XXXX"
        offset, carry = stream.offset, b""
        for chunk in stream.pieces():
            held = carry + chunk if carry else chunk
            data = np.frombuffer(held, np.uint8)
            position = 0
            while True:
                ticks, position, why = self._decode(data, position, offset)
                if len(ticks):
                    yield ticks
                if why == dbn.DAMAGED:
                    position = self._damaged(source, data, position, offset)
                if why == dbn.END:
                    break
                if why == dbn.NEW_INSTRUMENT:
                    self._name(data, position, offset)
                elif why == dbn.DEFINED:
                    position = self._define(data, position)
            carry = held[position:]
            offset += position
        if carry:
            detail = f"{source}: {len(carry)} bytes left of a record"
            self._context.anomaly(FeedAnomaly.TRUNCATED, offset, self.sequence, detail)

    def _decode(self, data: npt.NDArray[np.uint8], position: int, offset: int) -> tuple[Ticks, int, int]:
        room = (len(data) - position) // TRADE_BYTES + dbn.ROWS_PER_RECORD
        ticks = np.empty(min(ROWS_AT_ONCE, room), TICK)
        rows = ticks.view(np.int64).reshape(-1, _ROW_WORDS)
        first = self.sequence
        position, sequence, count, why = dbn.decode_records(data, position, first, rows, self._state)
        self.sequence = int(sequence)
        self._context.records(self.sequence - first)
        self._report(offset)
        return ticks[:count], int(position), int(why)

    def _damaged(self, source: str, data: npt.NDArray[np.uint8], position: int, offset: int) -> int:
        """Passes over what is no record, to the next ones of instruments that are named; returns their position.

        Raises FeedUnreadable where nothing was read before.
        """
        if self.sequence == 1:
            kind, words = data[position + 1], data[position]
            raise FeedUnreadable(f"{source}: a record of type {kind} and {words} words", offset + position)
        found = int(dbn.find_record(data, position, self._state))
        detail = f"{found - position} bytes are no records; the next one begins at byte {offset + found}"
        self._context.anomaly(FeedAnomaly.BAD_RECORD, offset + position, self.sequence, detail)
        self._context.records(1)
        self.sequence += 1
        return found

    def _name(self, data: npt.NDArray[np.uint8], position: int, offset: int) -> None:
        """Lists the instrument of the record there. Without a name it is called by its number."""
        instrument = int(data[position + 4 : position + 8].view("<u4")[0])
        symbol = self._symbols.get(instrument, f"I{instrument}")
        increment = self._increments.get(instrument, 0)
        needed = _decimals(increment) if increment else int(dbn.finest(data, position, instrument))
        decimals = max(E4_DECIMALS, needed)
        tick = max(1, increment // 10 ** (PRICE_DECIMALS - decimals))
        listing = Listing(price_decimals=decimals, tick=tick, venue=self._venue)
        listed = self._context.enlist(symbol, listing, offset=offset + position, sequence=self.sequence)
        self._make_room()
        state, row = self._state, self._named
        if listed is not None and listed.price_decimals <= PRICE_DECIMALS:
            state.ids[row] = listed.instrument_id
            state.divisors[row] = 10 ** (PRICE_DECIMALS - listed.price_decimals)
        dbn.enter(state, instrument, row)
        self._named += 1

    def _make_room(self) -> None:
        old = self._state
        if self._named < len(old.ids):
            return
        size = 2 * len(old.ids)
        grown = dbn.new_state(size)._replace(counters=old.counters, first=old.first, types=old.types)
        grown.ids[: len(old.ids)] = old.ids
        grown.divisors[: len(old.ids)] = old.divisors
        grown.tops[: len(old.ids)] = old.tops
        for slot in np.flatnonzero(old.keys):
            dbn.enter(grown, int(old.keys[slot]) - 1, int(old.slots[slot]))
        self._state = grown

    def _define(self, data: npt.NDArray[np.uint8], position: int) -> int:
        """Reads a definition or a symbol mapping; returns the position behind it."""
        size = int(data[position]) * WORD
        record = data[position : position + size].tobytes()
        if record[1] == SYMBOL_MAPPING:
            instrument, symbol = mapped_symbol(self._version, record)
            self._symbols[instrument] = symbol
        elif size >= 32:
            instrument, increment = price_increment(record)
            self._increments[instrument] = increment
        self._context.records(1)
        self._context.skip(f"a {NAMES[record[1]]} of an instrument")
        self.sequence += 1
        return position + size

    def _report(self, offset: int) -> None:
        counters, context = self._state.counters, self._context
        if not counters[: dbn.REFERENCE].any():
            return
        if counters[dbn.PASSED]:
            context.skip(_PASSED, int(counters[dbn.PASSED]))
        if counters[dbn.UNKNOWN]:
            seen = self._state.types - self._seen
            self._seen += seen
            for rtype in np.flatnonzero(seen).tolist():
                if rtype not in _TICK_TYPES:
                    context.skip(f"a record of {NAMES[rtype]}, which carries no ticks", int(seen[rtype]))
        for what, kind in ((dbn.BAD, FeedAnomaly.BAD_RECORD), (dbn.OFF_SCALE, FeedAnomaly.OFF_SCALE)):
            if count := int(counters[what]):
                position, sequence = self._state.first[what].tolist()
                context.anomaly(kind, offset + position, sequence, f"the first of {count}", count=count)
        counters[: dbn.REFERENCE] = 0


def _decimals(increment: int) -> int:
    decimals = PRICE_DECIMALS
    while decimals and increment % 10 == 0:
        increment //= 10
        decimals -= 1
    return decimals


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of all files, in the order given: definitions first."""
    decoder = DbnDecoder(context)
    for source in context.sources:
        yield from decoder.ticks(source)


DBN: Final = FeedReader(
    "dbn",
    "Databento files of MBO, trades, MBP, BBO and consolidated BBO, definitions before them",
    read,
    zone="America/Chicago",
)
