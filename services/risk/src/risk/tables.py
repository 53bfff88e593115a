"""Tables of the gate: declarations, keys, and the sweep that keeps them bounded.

========== ============================ =========================================================================
table      key                          row
========== ============================ =========================================================================
accounts   account_id                   AccountRow: status, cash, reserved cash, ledger sequence
positions  account_id / symbol          PositionRow: shares, reserved shares; absent where both are zero
holdings   account_id                   Holdings: symbols that have a position row; written when one comes or goes
orders     slot, order_id               OrderRow: seen id, verdict and reservation in one
executions slot, order_id, execution_id ExecutionRow: the report was booked
commands   slot, account_id, command_id CommandRow: seen id and verdict
sweep      ``cursor``                   Sweep: day and next slot
chain      ``risk.ledger``              ChainRow: number and hash of the partition's last ledger entry
========== ============================ =========================================================================

An intent changes one row of ``orders`` and, once per batch however many intents an account sends, its row of
``accounts`` and perhaps of ``positions``. Orders, executions and commands grow with traffic, so their rows are
forgotten once nothing of them is open and a retention has passed: keys begin with a slot (a hash of the id), and on
each new day the intents themselves move a cursor through the slots.
"""

from typing import Any, Final
from zlib import crc32

import msgspec
from common.contracts.topics import MD_MARKS, REF_INSTRUMENTS, RISK_LEDGER
from common.runtime.tables import Changelogged, Codec, Global, TableDeclaration, Tables

from risk.domain.account import (
    AccountRow,
    CommandRow,
    ExecutionRow,
    Holdings,
    OrderRow,
    PositionRow,
)
from risk.domain.chain import ChainRow

SLOTS: Final = 4_096
SWEEP_EVERY_INTENTS: Final = 64
"""One slot is swept at each intent whose offset is a multiple of this: 262,144 intents see every row once a day."""
DAY_NS: Final = 86_400_000_000_000
CURSOR_KEY: Final = b"cursor"
CHAIN_KEY: Final = RISK_LEDGER.name.encode()
SWEPT: Final = ("orders", "executions", "commands")


class Sweep(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``next_slot`` is SLOTS when the day's sweep is done."""

    day: int
    next_slot: int


def row_codec(row: Any) -> Codec:
    """MessagePack arrays. Decoding raises msgspec.ValidationError, a ValueError, for bytes of another shape."""
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(row).decode)


TABLES: Final[tuple[TableDeclaration, ...]] = (
    Changelogged("accounts", row_codec(AccountRow)),
    Changelogged("positions", row_codec(PositionRow)),
    Changelogged("holdings", row_codec(Holdings)),
    Changelogged("orders", row_codec(OrderRow), cached=False),
    Changelogged("executions", row_codec(ExecutionRow), cached=False),
    Changelogged("commands", row_codec(CommandRow), cached=False),
    Changelogged("sweep", row_codec(Sweep)),
    Changelogged("chain", row_codec(ChainRow)),
    Global("instruments", REF_INSTRUMENTS),
    Global("marks", MD_MARKS),
)


# --- keys ---------------------------------------------------------------------------------------------------------


def _slotted(text: bytes) -> bytes:
    return (crc32(text) % SLOTS).to_bytes(2, "big") + text


def order_key(order_id: str) -> bytes:
    return _slotted(order_id.encode())


def execution_key(order: bytes, execution_id: str) -> bytes:
    """In the slot of its order."""
    return b"%s\0%s" % (order, execution_id.encode())


def command_key(account_id: str, command_id: str) -> bytes:
    return _slotted(f"{account_id}.{command_id}".encode())


def position_key(account_key: bytes, symbol: str) -> bytes:
    return b"%s/%s" % (account_key, symbol.encode())


# --- writing ------------------------------------------------------------------------------------------------------


def put_position(
    tables: Tables, account_key: bytes, symbol: str, before: PositionRow | None, after: PositionRow
) -> None:
    """Writes a position; one that became empty goes, so that rows are bounded by what is held."""
    positions = tables.changelogged("positions")
    if after.qty:
        positions.put(position_key(account_key, symbol), after)
        if before is None:
            holdings = tables.changelogged("holdings")
            held = holdings.get(account_key) or Holdings()
            holdings.put(account_key, Holdings((*held.symbols, symbol)))
    elif before is not None:
        positions.delete(position_key(account_key, symbol))
        holdings = tables.changelogged("holdings")
        held = holdings.get(account_key) or Holdings()
        rest = tuple(other for other in held.symbols if other != symbol)
        if rest:
            holdings.put(account_key, Holdings(rest))
        else:
            holdings.delete(account_key)


# --- forgetting ---------------------------------------------------------------------------------------------------


def sweep(tables: Tables, now_ns: int, retention_ns: int) -> None:
    """Forgets the old rows of one slot, until the day's sweep is done."""
    cursors = tables.changelogged("sweep")
    today = now_ns // DAY_NS
    cursor: Sweep | None = cursors.get(CURSOR_KEY)
    if cursor is None:
        cursors.put(CURSOR_KEY, Sweep(today, SLOTS))
        return
    slot = cursor.next_slot if cursor.day >= today else 0
    if slot == SLOTS:
        return
    prefix = slot.to_bytes(2, "big")
    for name in SWEPT:
        table = tables.changelogged(name)
        for key in [key for key, row in table.prefix(prefix) if _forgettable(row, now_ns - retention_ns)]:
            table.delete(key)
    cursors.put(CURSOR_KEY, Sweep(max(today, cursor.day), slot + 1))


def _forgettable(row: OrderRow | ExecutionRow | CommandRow, before_ns: int) -> bool:
    return row.touched_ns < before_ns and not getattr(row, "leaves_qty", 0)
