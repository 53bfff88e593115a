"""Tables of the gate: declarations, keys, and the sweep that keeps them bounded.

========== ============================ =========================================================================
table      key                          row
========== ============================ =========================================================================
accounts   account_id                   AccountRow: status, cash, reserved cash, ledger sequence
positions  account_id / symbol          PositionRow: shares, reserved shares; absent where both are zero
holdings   account_id                   Holdings: symbols that have a position row; written when one comes or goes
orders     slot, order_id               OrderRow: seen id, verdict and reservation in one
progress   slot, order_id               ProgressRow: what the venue's reports say of the order
executions slot, order_id, execution_id ExecutionRow: the report was judged
breaks     slot, account_id, break_id   BreakRow: a report that was refused, and what of it is reserved
break_counts reason                     BreakCount: open breaks of the partition
commands   slot, account_id, command_id CommandRow: seen id and verdict
activity   account_id                   ActivityRow: recent orders; only where a limit asks for them
equity     account_id                   EquityRow: what losses are measured from; only where a limit asks for them
controls   account_id, ``_firm``,       Controls: limits and trading states that people have set; the firm's where
           ``@firm``                    they are decided, and a copy in each partition
controlled ``accounts``                 Controlled: how many accounts have some of their own; absent where none has
control_commands slot, account, command SeenControl: seen id and answer
basis      account_id, ``_firm``,       SaidBasis: what was said last of what decisions stand on
           ``_firm``/symbol
sweep      ``cursor``                   Sweep: day and next slot
chain      ``risk.ledger``,             ChainRow: number and hash of the partition's last ledger entry, and of its last
           ``audit.commands``           record of a command
========== ============================ =========================================================================

An intent changes one row of ``orders`` and, once per batch however many intents an account sends, its row of
``accounts`` and perhaps of ``positions``. Orders, executions and commands grow with traffic, so their rows are
forgotten once nothing of them is open and a retention has passed: keys begin with a slot (a hash of the id), and on
each new day the intents themselves move a cursor through the slots.
"""

from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

import msgspec
from common.contracts.controls import Controls
from common.contracts.topics import MD_MARKS, REF_INSTRUMENTS, RISK_LEDGER
from streams.model.row_layouts import struct_layout
from streams.model.tables import Changelogged, Codec, Global, Migration, TableDeclaration, Tables

from risk.domain.account import (
    AccountRow,
    BreakCount,
    BreakRow,
    CommandRow,
    ExecutionRow,
    Holdings,
    OrderRow,
    PositionRow,
    ProgressRow,
)
from risk.domain.activity import ActivityRow
from risk.domain.chain import ChainRow
from risk.domain.equity import EquityRow

SLOTS: Final = 4_096
SLOT_BYTES: Final = 2
SWEEP_EVERY_INTENTS: Final = 64
"""One slot is swept at each intent whose offset is a multiple of this: 262,144 intents see every row once a day."""
DAY_NS: Final = 86_400_000_000_000
CURSOR_KEY: Final = b"cursor"
CHAIN_KEY: Final = RISK_LEDGER.name.encode()
FIRM_COPY_KEY: Final = b"@firm"
"""No account has an id with this sign in it."""
CONTROLLED_KEY: Final = b"accounts"
SWEPT: Final = ("orders", "commands", "breaks", "control_commands")
"""Tables whose rows are forgotten by age."""
OF_ORDERS: Final = ("progress", "executions")
"""Tables whose rows are forgotten with their order's: what is known of its reports is known as long as the order."""


class Sweep(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``next_slot`` is SLOTS when the day's sweep is done."""

    day: int
    next_slot: int


class Controlled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many accounts of the partition have limits or a trading state of their own, or had."""

    accounts: int = 0


class SeenControl(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One control command: what was asked, without when it was sent, and the answer; both as JSON."""

    command: bytes
    result: bytes
    touched_ns: int


class SaidBasis(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Numbers of what was said last of the firm, of an account, or of a mark, the day first."""

    numbers: tuple[int, ...]


CONTROLS_CODEC: Final = Codec(
    lambda row: row.model_dump_json().encode(), Controls.model_validate_json, Controls.model_json_schema
)


def row_codec(row: Any) -> Codec:
    """MessagePack arrays. Decoding raises msgspec.ValidationError, a ValueError, for bytes of another shape."""
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(row).decode, lambda: struct_layout(row))


LAYOUT_VERSION: Final = 2
"""Version of the rows of all tables. Whoever raises it adds a migration: see ``streams.opening.layout``."""
MIGRATIONS: Final[Mapping[int, Migration]] = {1: {}}
"""Since 2 an order may be FOK, GTC or GTD: every row of 1 is a row of 2, and a release that knows 1 is refused."""
TABLES: Final[tuple[TableDeclaration, ...]] = (
    Changelogged("accounts", row_codec(AccountRow)),
    Changelogged("positions", row_codec(PositionRow)),
    Changelogged("holdings", row_codec(Holdings)),
    Changelogged("orders", row_codec(OrderRow), cached=False),
    Changelogged("progress", row_codec(ProgressRow), cached=False),
    Changelogged("executions", row_codec(ExecutionRow), cached=False),
    Changelogged("breaks", row_codec(BreakRow), cached=False),
    Changelogged("break_counts", row_codec(BreakCount)),
    Changelogged("commands", row_codec(CommandRow), cached=False),
    Changelogged("activity", row_codec(ActivityRow)),
    Changelogged("equity", row_codec(EquityRow)),
    Changelogged("controls", CONTROLS_CODEC),
    Changelogged("controlled", row_codec(Controlled)),
    Changelogged("control_commands", row_codec(SeenControl), cached=False),
    Changelogged("basis", row_codec(SaidBasis)),
    Changelogged("sweep", row_codec(Sweep)),
    Changelogged("chain", row_codec(ChainRow)),
    Global("instruments", REF_INSTRUMENTS),
    Global("marks", MD_MARKS),
)


# --- keys ---------------------------------------------------------------------------------------------------------


def _slotted(text: bytes) -> bytes:
    return (crc32(text) % SLOTS).to_bytes(SLOT_BYTES, "big") + text


def order_key(order_id: str) -> bytes:
    return _slotted(order_id.encode())


def execution_key(order: bytes, execution_id: str) -> bytes:
    """In the slot of its order."""
    return b"%s\0%s" % (order, execution_id.encode())


def break_key(account_id: str, break_id: str) -> bytes:
    return _slotted(f"{account_id}\0{break_id}".encode())


def order_of(key: bytes) -> bytes:
    """Key of the order that a row of ``progress`` or ``executions`` belongs to."""
    end = key.find(b"\0", SLOT_BYTES)
    return key if end < 0 else key[:end]


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
    prefix = slot.to_bytes(SLOT_BYTES, "big")
    for name in SWEPT:
        table = tables.changelogged(name)
        for key in [key for key, row in table.prefix(prefix) if _forgettable(row, now_ns - retention_ns)]:
            table.delete(key)
    known = {key for key, _ in tables.changelogged("orders").prefix(prefix)}
    for name in OF_ORDERS:
        table = tables.changelogged(name)
        for key in [key for key, _ in table.prefix(prefix) if order_of(key) not in known]:
            table.delete(key)
    cursors.put(CURSOR_KEY, Sweep(max(today, cursor.day), slot + 1))


def _forgettable(row: OrderRow | CommandRow | BreakRow | SeenControl, before_ns: int) -> bool:
    if row.touched_ns >= before_ns:
        return False
    match row:
        case OrderRow():
            return not row.leaves_qty
        case BreakRow():
            return row.resolved_by is not None
    return True
