"""One reading of a feed: gives a reader its context, and takes ticks that are fit to be committed from it."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from common.contracts.reference import Instrument
from common.contracts.ticks import NO_INSTRUMENT, TICK, TickKind, Ticks, symbol_to_ref
from common.feeds import FeedAnomaly, FeedReader, FeedUnavailable, FeedUnreadable, Listed, Listing
from pydantic import ValidationError

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.feed_date import FeedDateError, date_from_name, wall_clock
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.feeds.installed import REFERENCE, check_options
from ingest.feeds.reference import ReferenceRow, read_reference
from ingest.files import RecordedFile

Progress = Callable[[int, int], None]
NAME_SHOWN_MAX: Final = 40
"""Characters of a symbol that are shown of one that is none."""
EVENT_NS_MAX: Final = 1 << 62
"""The year 2116: a stamp beyond it is damage."""


class FeedProtocolError(ValueError):
    """A reader does not keep what ``common.feeds`` says of it."""


class Reading:
    """Iterates over ticks, with a directory tick before an instrument's first one. See ``FeedContext`` for the rest."""

    def __init__(
        self,
        reader: FeedReader,
        sources: tuple[str, ...],
        *,
        options: Mapping[str, str],
        day: date | None,
        registry: InstrumentRegistry,
        report: Report,
        next_sequence: int = 1,
        progress: Progress | None = None,
    ) -> None:
        check_options(reader, options)
        if not sources:
            raise FeedUnavailable(f"feed {reader.name!r} needs a source: {reader.description}")
        self.reader = reader
        self.sources = sources
        self.options = options
        self.registry = registry
        self.report = report
        self.next_sequence = next_sequence
        self.day = day or day_of(sources)
        if reader.needs_day and self.day is None:
            raise FeedUnavailable(f"feed {reader.name!r} needs a day: no name of a source says one")
        self.references = read_reference(Path(options[REFERENCE])) if REFERENCE in options else {}
        self._progress = progress
        self._listed: dict[int, Listed] = {}
        self._fresh: list[Instrument] = []
        self._announcements: list[Instrument] = []
        self._last_sequence = 0
        self._is_decoded = False
        """Whether a decoder counts messages and ticks."""

    def __iter__(self) -> Iterator[Ticks]:
        """Raises FeedUnreadable where the source cannot be read on, after everything before it."""
        for ticks in self.reader.read(self):
            yield self._admitted(ticks)

    @property
    def session_ns(self) -> int:
        """The exchange's midnight, where the day is known before the first tick; else 0."""
        return self.midnight_ns(self.day) if self.day else 0

    def midnight_ns(self, day: date) -> int:
        """Midnight in the exchange's zone at the start of ``day``, ns since the epoch."""
        return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.reader.zone)).timestamp()) * 10**9

    def midnight_before_ns(self, event_ns: int) -> int:
        """The midnight of the day in which ``event_ns`` is."""
        return self.midnight_ns(datetime.fromtimestamp(event_ns / 1e9, ZoneInfo(self.reader.zone)).date())

    def begin_day(self, event_ns: int) -> None:
        """Takes the day of the first event, where none was given."""
        if self.day is None:
            self.day = datetime.fromtimestamp(event_ns / 1e9, ZoneInfo(self.reader.zone)).date()

    def decoder(self) -> Decoder:
        """A decoder of ITCH for the instruments of this reading, with the locate codes of the reference file."""
        clock = wall_clock(self.day, ZoneInfo(self.reader.zone)) if self.day else self.session_ns
        decoder = Decoder(clock, self.registry, self.report)
        self._is_decoded = True
        for symbol, row in self.references.items():
            if row.locate:
                listed = self.enlist(symbol, row.listing)
                if listed is not None:
                    decoder.assign(row.locate, self.registry.by_id(listed.instrument_id))
        return decoder

    def announce(self, instruments: list[Instrument]) -> None:
        """Takes announcements of a decoder, whose directory ticks are among its own."""
        self._announcements += instruments

    def take_announcements(self) -> list[Instrument]:
        """Instruments that are new or changed since the last call, in order."""
        taken, self._announcements = self._announcements, []
        return taken

    # --- the context of the reader --------------------------------------------------------------------------------

    def chunks(self, source: str) -> Iterator[bytes]:
        """The bytes of a file, decompressed, in pieces of bounded size. Raises FeedUnreadable where there is none."""
        try:
            recorded = RecordedFile(Path(source), self.report)
            for chunk in recorded:
                self._advance(recorded.bytes_read, recorded.bytes_total)
                yield chunk
        except OSError as error:
            raise FeedUnreadable(f"{source}: {error.strerror or error}") from error

    def _advance(self, done: int, of: int) -> None:
        if self._progress:
            self._progress(done, of)

    def listing(self, symbol: str) -> Listing | None:
        """The reference file's listing of the source's symbol."""
        row = self.references.get(symbol)
        return row.listing if row else None

    def enlist(self, symbol: str, listing: Listing, *, offset: int = -1, sequence: int = 0) -> Listed | None:
        """Announces an instrument. None where the symbol is none, or its numbers are not possible: counted."""
        row = self.references.get(symbol, ReferenceRow(symbol, listing))
        try:
            instrument, is_new = self.registry.enlist(row.symbol, row.listing)
        except ValueError as error:
            detail = f"symbol {symbol[:NAME_SHOWN_MAX]!r} as {row.symbol[:NAME_SHOWN_MAX]!r}: {_first_fault(error)}"
            self.anomaly(FeedAnomaly.BAD_SYMBOL, offset, sequence, detail)
            return None
        if is_new:
            self._announcements.append(instrument)
        if is_new or instrument.instrument_id not in self._listed:
            self._fresh.append(instrument)
        listed = Listed(instrument.instrument_id, row.listing.price_decimals, row.listing.qty_decimals)
        self._listed[instrument.instrument_id] = listed
        return listed

    def anomaly(
        self, kind: FeedAnomaly, offset: int = -1, sequence: int = 0, detail: str = "", *, count: int = 1
    ) -> None:
        """Counts; the first cases of each kind are kept."""
        self.report.add(Anomaly(AnomalyKind(kind.value), offset, sequence, detail), count)

    def records(self, count: int) -> None:
        """Counts records that were read."""
        self.report.messages += count

    def skip(self, reason: str, count: int = 1) -> None:
        """Counts records that say nothing a tick could carry."""
        self.report.skipped[reason] += count

    # --- what is let through --------------------------------------------------------------------------------------

    def _admitted(self, ticks: Ticks) -> Ticks:
        """With directory ticks of the instruments that are new in it. Raises FeedProtocolError."""
        if ticks.dtype != TICK:
            raise FeedProtocolError(f"feed {self.reader.name!r} gives {ticks.dtype}, not ticks")
        if not len(ticks):
            return ticks
        sequences, ids = ticks["sequence"], ticks["instrument_id"]
        if int(sequences[0]) < max(1, self._last_sequence) or np.any(sequences[1:] < sequences[:-1]):
            raise FeedProtocolError(f"feed {self.reader.name!r} gives sequences that decrease")
        if int(ids.min()) < NO_INSTRUMENT or int(ids.max()) >= len(self.registry):
            raise FeedProtocolError(f"feed {self.reader.name!r} gives an instrument that was not listed")
        possible = (ticks["event_ns"] > 0) & (ticks["event_ns"] < EVENT_NS_MAX)
        if not possible.all():
            first = ticks[~possible][0]
            detail = f"event time {int(first['event_ns'])}"
            wrong = int(np.count_nonzero(~possible))
            self.anomaly(FeedAnomaly.BAD_TIMESTAMP, -1, int(first["sequence"]), detail, count=wrong)
            ticks = ticks[possible]
        self._last_sequence = int(sequences[-1])
        if not self._is_decoded:
            self.report.ticks += len(ticks)
        return self._introduced(ticks)

    def _introduced(self, ticks: Ticks) -> Ticks:
        if not self._fresh or not len(ticks):
            return ticks
        rows = np.zeros(len(self._fresh), TICK)
        for row, instrument in zip(rows, self._fresh, strict=True):
            row["event_ns"], row["sequence"] = ticks[0]["event_ns"], ticks[0]["sequence"]
            row["order_ref"], row["qty"] = symbol_to_ref(instrument.symbol), instrument.round_lot_size
            row["instrument_id"], row["kind"] = instrument.instrument_id, TickKind.STOCK_DIRECTORY
        self._fresh.clear()
        return np.concatenate((rows, ticks))


def _first_fault(error: ValueError) -> str:
    """The first of what is wrong with an instrument's numbers, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)[:120]


def day_of(sources: tuple[str, ...]) -> date | None:
    """The day that the name of a source says."""
    for name in sources:
        try:
            return date_from_name(Path(name).name)
        except FeedDateError:
            continue
    return None
