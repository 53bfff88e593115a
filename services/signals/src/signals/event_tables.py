"""Tables of the stage ``events``: declarations and keys.

======== ======================= ====================================================
table    key                     row
======== ======================= ====================================================
shown    instrument_id / venue   VenueBook: what the venue shows of the instrument
beats    partition of md.ticks   Beat: time of the last heartbeat that was put there
speakers (one row)               Speakers: venues, when each spoke, who is left out
======== ======================= ====================================================
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from common.contracts.topics import REF_INSTRUMENTS
from streams.model.row_layouts import struct_layout
from streams.model.tables import Changelogged, Codec, Global, Table, TableDeclaration

from signals.domain.event_ticks import VenueBook
from signals.domain.venue_silence import Speakers


class Beat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    event_ns: int


def _codec(row: Any) -> Codec:
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(row).decode, lambda: struct_layout(row))


LAYOUT_VERSION: Final = 1
"""Version of the rows of all tables. Whoever raises it adds a migration: see ``streams.opening.layout``."""
TABLES: Final[tuple[TableDeclaration, ...]] = (
    Changelogged("shown", _codec(VenueBook)),
    Changelogged("beats", _codec(Beat)),
    Changelogged("speakers", _codec(Speakers)),
    Global("instruments", REF_INSTRUMENTS),
)


SPEAKERS: Final = b""
"""Key of the row of speakers."""


def shown_key(instrument_id: int, venue: str) -> bytes:
    return b"%d/%s" % (instrument_id, venue.encode())


def shown_by(shown: Table, venue: str) -> Iterator[tuple[int, VenueBook]]:
    """Instruments of which the venue shows something, and what."""
    for key, book in shown.prefix(b""):
        instrument_id, _, name = key.decode().partition("/")
        if name == venue and (book.bids or book.asks):
            yield int(instrument_id), book


def shown_of(shown: Table, instrument_id: int) -> Iterator[tuple[str, VenueBook]]:
    """Venues that have shown something of the instrument, and what they show now."""
    for key, book in shown.prefix(b"%d/" % instrument_id):
        yield key.decode().partition("/")[2], book


def beat_key(partition: int) -> bytes:
    return b"%d" % partition
