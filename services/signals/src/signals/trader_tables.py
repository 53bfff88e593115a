"""Tables of the stage ``traders``, all by account, hence co-partitioned: declarations and keys.

======== ======================= =====================================================================
table    key                     row
======== ======================= =====================================================================
accounts account_id              AccountRow: sessions that an event may still join
orders   order_id                KnownOrder: every open order, and each account's newest closed ones
closed   account_id, ring slot   order_id of a closed order, as the lifecycle keeps them
counts   (one row)               Counts: the newest event of the partition, and what became of all
======== ======================= =====================================================================
"""

from typing import Any, Final

import msgspec
from common.contracts.views import CLOSED_ORDERS_RETAINED
from streams.model.row_layouts import struct_layout
from streams.model.tables import Changelogged, Codec, TableDeclaration

from signals.domain.trader_sessions import KnownOrder, Session


class AccountRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``closed``: orders that were closed so far; ``sessions``: by gap, ns."""

    closed: int = 0
    sessions: dict[int, tuple[Session, ...]] = {}


class Counts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``newest_ns``: greatest ``updated_ns`` so far; the others are events by what became of them."""

    newest_ns: int = 0
    windowed: int = 0
    late: int = 0
    repeated: int = 0


def _codec(row: Any) -> Codec:
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(row).decode, lambda: struct_layout(row))


LAYOUT_VERSION: Final = 1
"""Version of the rows of all tables. Whoever raises it adds a migration: see ``streams.opening.layout``."""
TABLES: Final[tuple[TableDeclaration, ...]] = (
    Changelogged("accounts", _codec(AccountRow)),
    Changelogged("orders", _codec(KnownOrder)),
    Changelogged("closed", _codec(str)),
    Changelogged("counts", _codec(Counts)),
)
COUNTS: Final = b""
"""Key of the row of counts."""


def closed_key(account_id: str, count: int) -> bytes:
    """Slot of the ``count``-th closed order of an account: it replaces the oldest one."""
    return b"%s\0%d" % (account_id.encode(), count % CLOSED_ORDERS_RETAINED)
