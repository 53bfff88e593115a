"""Tables of the stage ``events``: declarations and keys.

====== ======================= ====================================================
table  key                     row
====== ======================= ====================================================
shown  instrument_id / venue   VenueBook: what the venue shows of the instrument
beats  partition of md.ticks   Beat: time of the last heartbeat that was put there
====== ======================= ====================================================
"""

from typing import Any, Final

import msgspec
from common.contracts.topics import REF_INSTRUMENTS
from streams.model.row_layouts import struct_layout
from streams.model.tables import Changelogged, Codec, Global, TableDeclaration

from signals.domain.event_ticks import VenueBook


class Beat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    event_ns: int


def _codec(row: Any) -> Codec:
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(row).decode, lambda: struct_layout(row))


LAYOUT_VERSION: Final = 1
"""Version of the rows of all tables. Whoever raises it adds a migration: see ``streams.opening.layout``."""
TABLES: Final[tuple[TableDeclaration, ...]] = (
    Changelogged("shown", _codec(VenueBook)),
    Changelogged("beats", _codec(Beat)),
    Global("instruments", REF_INSTRUMENTS),
)


def shown_key(instrument_id: int, venue: str) -> bytes:
    return b"%d/%s" % (instrument_id, venue.encode())


def beat_key(partition: int) -> bytes:
    return b"%d" % partition
