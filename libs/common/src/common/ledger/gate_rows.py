"""Rows of the gate as far as the ledger's readers know them: the place of its stores, and three of its tables.

The contract is on file: ``schemas/rows-risk.gate.v2.json``. These structs are the readers' own, so that a fault of the
gate shows; fields that a later gate appends are not read. In the stores and in the gate's changelog a key is the
table's name, a slash, and the key within the table.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from common.contracts.events import CASH, AccountStatus
from common.contracts.topics import RISK_LEDGER
from common.ledger.chain import Head
from common.ledger.fold import Balance, nonzero

STAGE: Final = "risk.gate"
ACCOUNTS: Final = b"accounts/"
"""Begins the key of every account; its id follows."""
POSITIONS: Final = b"positions/"
"""Begins the key of every position; the account's id, a slash and the symbol follow."""
CHAIN: Final = b"chain/" + RISK_LEDGER.name.encode()
"""Key of the last link of the partition's ledger."""


class GateAccount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Cash of one account: all of it, and the part that is held for open orders."""

    status: AccountStatus
    cash_e4: int = 0
    reserved_cash_e4: int = 0
    seq: int = 0
    """Number of the account's last ledger entry."""
    pending_cash_e4: int = 0
    buy_prices: dict[str, bytes] = {}


class GatePosition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Shares of one symbol in one account: all of them, and those that are held for open orders."""

    qty: int = 0
    reserved_qty: int = 0
    sell_prices: bytes = b""


class GateChain(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last link of one partition's ledger."""

    seq: int
    head: bytes
    """SHA-256, 32 bytes."""


TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "accounts": GateAccount,
    "positions": GatePosition,
    "chain": GateChain,
}
_DECODERS: Final = {table: msgspec.msgpack.Decoder(row) for table, row in TABLES.items()}


def decoded(table: str, value: bytes) -> Any:
    """A row of the gate. Raises ValueError for bytes that are none."""
    return _DECODERS[table].decode(value)


def balance_of(account: GateAccount, positions: Mapping[str, GatePosition]) -> Balance:
    """The gate's rows of one account, as a balance."""
    available: dict[str, int] = {CASH: account.cash_e4 - account.reserved_cash_e4}
    reserved: dict[str, int] = {CASH: account.reserved_cash_e4}
    for symbol, position in positions.items():
        available[symbol] = position.qty - position.reserved_qty
        reserved[symbol] = position.reserved_qty
    return Balance(account.seq, nonzero(available), nonzero(reserved))


def gate_accounts(rows: Iterable[tuple[bytes, bytes]]) -> dict[str, tuple[int, Balance]]:
    """Account → ledger sequence and balance, out of the rows of one store of the gate, or of its changelog."""
    accounts: dict[str, GateAccount] = {}
    positions: dict[str, dict[str, GatePosition]] = defaultdict(dict)
    for key, value in rows:
        if key.startswith(ACCOUNTS):
            accounts[key.removeprefix(ACCOUNTS).decode()] = decoded("accounts", value)
        elif key.startswith(POSITIONS):
            account_id, _, symbol = key.removeprefix(POSITIONS).decode().partition("/")
            positions[account_id][symbol] = decoded("positions", value)
    return {name: (row.seq, balance_of(row, positions.get(name, {}))) for name, row in accounts.items()}


def head_of(value: bytes) -> Head:
    """The gate's row of a chain."""
    row: GateChain = decoded("chain", value)
    return Head(row.seq, row.head.hex())


def gate_stores(data_dir: Path) -> list[Path]:
    """Store directories of the gate on this machine: one per partition, of every worker that ever served it."""
    place = f"{STAGE.replace('.', '/')}/*/store"
    return sorted([*data_dir.glob(place), *data_dir.glob(f"*/{place}")])
