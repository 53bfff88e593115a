"""Tables of the venue stage, all by symbol and hence on the partition of the instrument.

table    key                                 row
=======  ==================================  ==================================================================
orders   order_id                            Working: every open order and the partition's newest closed ones
books    symbol                              SymbolBook, where an order rests or something was taken of the mark
resting  symbol, side, price rank, sequence  order_id; key order is the order of service
closed   ring slot                           order_id of a closed order
counts   ``closed``                          how many orders the partition has closed
session  ``now``                             TradingSession that the exchange's clock was last seen in
expiries expire_ns, order_id                 order_id of an open GTD order; key order is the order of expiry
"""

from collections.abc import Mapping
from typing import Final

from common.contracts.events import VenueOrder
from common.contracts.topics import MD_MARKS
from streams.model.tables import Changelogged, Codec, Global, Migration

from orders.domain.sessions import TradingSession
from orders.domain.venue import SymbolBook, Working
from orders.rows import TEXT_CODEC, dense_codec, json_codec
from orders.wire import VENUE_ORDER_TWIN

CLOSED_REMEMBERED: Final = 50_000
"""Closed orders per partition whose ids are remembered, so that a repeated order is not taken for a new one."""

SESSION_KEY: Final = b"now"

LAYOUT_VERSION: Final = 4
"""Version of the rows of all tables. Whoever raises it adds a migration (``streams.opening.layout``)."""
MIGRATIONS: Final[Mapping[int, Migration]] = {1: {}, 2: {}, 3: {}}
"""Since 2 a symbol may hold ``@``, since 3 an order may say what is canceled where it meets an own one, since 4 it may
be FOK, GTC or GTD. Every row of an older version is a row of this one, and a release that knows only older ones is
refused.
"""
TABLES: Final = (
    Changelogged("orders", dense_codec(Working, {VenueOrder: VENUE_ORDER_TWIN})),
    Changelogged("books", dense_codec(SymbolBook)),
    Changelogged("resting", TEXT_CODEC),
    Changelogged("closed", TEXT_CODEC),
    Changelogged("counts", Codec(lambda value: b"%d" % value, int, lambda: {"type": "integer"})),
    Changelogged("session", json_codec(TradingSession)),
    Changelogged("expiries", TEXT_CODEC),
    Global("marks", MD_MARKS),
)
