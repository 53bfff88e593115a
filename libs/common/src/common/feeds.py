"""Feeds: sources of market data whose records become ticks.

A feed is declared once, by a name and a function ``read(context)``, and everything else is made from the declaration:
replay with and without Kafka, pace, heartbeats, announcements of instruments, commits and recovery. ``read`` yields
arrays of ``TICK`` in the order of the source:

- ``sequence`` is the 1-based number of the source's record, and never decreases. Ticks of one record share it;
- ``event_ns`` is the exchange's own time, where the source has one;
- prices and quantities are integers on the scale of their instrument (``Listed``), exact: a value that does not fit the
  scale is an anomaly and no tick;
- every record becomes ticks, a counted anomaly (``context.anomaly``), or is passed over for a reason that the source's
  own rules give (``context.skip``). Nothing vanishes.

A recorded feed is a pure function of its sources. After a crash it is read again from the start, and what was committed
is passed over by its sequence. A live feed (``live``) numbers on from ``context.next_sequence`` and yields at least
every ``LIVE_YIELD_S``, an empty array where nothing came, so that time is known to pass.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final, Protocol

from common.contracts.ticks import Ticks

ENTRY_POINT: Final = "tidemark.feeds"
"""Group of the entry points by which a package offers feeds; each names a ``FeedReader``."""
LIVE_YIELD_S: Final = 0.1
NAME_CHARS_MAX: Final = 16


class FeedAnomaly(StrEnum):
    """Faults of a source. Closed; each is a kind of ingest's anomalies, too."""

    BAD_RECORD = "bad_record"  # a record that cannot be read; passed over by its length or its line
    BAD_CHECKSUM = "bad_checksum"  # the book differs from the checksum that the exchange sent
    BAD_SYMBOL = "bad_symbol"
    BAD_TIMESTAMP = "bad_timestamp"
    DUPLICATE = "duplicate"  # a record that arrived again
    OFF_SCALE = "off_scale"  # a price or quantity finer than the instrument's scale, or too large for 63 bits
    SEQUENCE_GAP = "sequence_gap"  # records that the source numbers and did not deliver
    TRUNCATED = "truncated"  # the source ends inside a record
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    DISCONNECT = "disconnect"  # a live source was away; its book was asked for again


class FeedUnreadable(ValueError):
    """The source cannot be read on from ``offset`` (bytes from its start, -1 where it has none)."""

    def __init__(self, message: str, offset: int = -1) -> None:
        super().__init__(f"{message} at byte {offset}" if offset >= 0 else message)
        self.offset = offset


class FeedUnavailable(ValueError):
    """A feed that was asked for is not installed, or is none, or was given options that it does not have."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A source's description of an instrument. ``tick``, ``lot`` and ``round_lot`` are in units of the scale.

    A price of 1.0 is 10 ** ``price_decimals`` units; one share, contract or coin is 10 ** ``qty_decimals``.
    """

    price_decimals: int = 4
    qty_decimals: int = 0
    tick: int = 1
    lot: int = 1
    round_lot: int = 1
    currency: str = "USD"
    venue: str = "XNAS"


@dataclass(frozen=True, slots=True)
class Listed:
    """An instrument as the fleet knows it: a reference file may have changed what the source said."""

    instrument_id: int
    price_decimals: int
    qty_decimals: int


class FeedContext(Protocol):
    """The surroundings that a feed is given."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Paths, or addresses of live sources."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """Those of the declaration that were given."""
        ...

    @property
    def day(self) -> date | None:
        """The exchange's day, where it was given or a file's name says it."""
        ...

    @property
    def next_sequence(self) -> int:
        """Number of the next record of a live feed."""
        ...

    def chunks(self, source: str) -> Iterator[bytes]:
        """The bytes of a file, decompressed, in pieces of bounded size."""
        ...

    def listing(self, symbol: str) -> Listing | None:
        """The reference file's listing of the source's symbol, so that a feed need not guess a scale."""
        ...

    def enlist(self, symbol: str, listing: Listing, *, offset: int = -1, sequence: int = 0) -> Listed | None:
        """Announces an instrument, or says again what it is. None where the symbol is none: counted."""
        ...

    def anomaly(
        self, kind: FeedAnomaly, offset: int = -1, sequence: int = 0, detail: str = "", *, count: int = 1
    ) -> None:
        """Counts; the first cases of each kind are kept with their place."""
        ...

    def records(self, count: int) -> None:
        """Counts records of the source that were read, whatever became of them."""
        ...

    def skip(self, reason: str, count: int = 1) -> None:
        """Counts records that say nothing which a tick could carry. ``reason`` is from a closed list of the feed's."""
        ...


Read = Callable[[FeedContext], Iterator[Ticks]]


@dataclass(frozen=True, slots=True)
class FeedReader:
    """The declaration. ``options`` are names and meanings; ``zone`` is where the exchange's midnight is."""

    name: str
    description: str
    read: Read
    options: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    needs_day: bool = False
    """The source's stamps are counted from a midnight that it does not name."""
    live: bool = False

    def __post_init__(self) -> None:
        if not self.name.replace("-", "_").isidentifier() or len(self.name) > NAME_CHARS_MAX:
            raise ValueError(f"{self.name!r} is no name of at most {NAME_CHARS_MAX} characters")


INT64_MAX: Final = 2**63 - 1


def scaled(text: str, decimals: int) -> int | None:
    """A decimal number as an integer of 10 ** -``decimals``; None where that is not exact, or needs more than 63 bits.

    Raises ValueError for what is no plain decimal number.
    """
    whole, _, fraction = text.partition(".")
    try:
        if len(fraction) > decimals:
            if fraction[decimals:].strip("0"):
                int(fraction)
                return None
            fraction = fraction[:decimals]
        value = int(whole + fraction.ljust(decimals, "0"))
    except ValueError as error:
        raise ValueError(f"{text!r} is no decimal number") from error
    if not (whole.lstrip("+-").isdigit() and (fraction.isdigit() or not fraction)):
        raise ValueError(f"{text!r} is no decimal number")
    return value if abs(value) <= INT64_MAX else None


def decimals_of(text: str) -> int:
    """Digits behind the point that are not trailing zeros."""
    return len(text.partition(".")[2].rstrip("0"))
