"""The gate's rows as the ledger's readers declare them."""

from pathlib import Path

import msgspec
import pytest
from common.contracts.events import CASH, AccountStatus
from common.contracts.topics import RISK_GATE_CHANGELOG
from common.ledger.fold import Balance
from common.ledger.gate_rows import (
    ACCOUNTS,
    CHAIN,
    POSITIONS,
    STAGE,
    GateAccount,
    GateChain,
    GatePosition,
    gate_accounts,
    gate_stores,
    head_of,
)
from streams.state.store import row_key


def test_keys_and_place_are_those_of_the_runtime() -> None:
    assert row_key("accounts", b"A") == ACCOUNTS + b"A"
    assert row_key("positions", b"A/S") == POSITIONS + b"A/S"
    assert CHAIN.startswith(row_key("chain", b""))
    assert RISK_GATE_CHANGELOG.name.startswith(STAGE)


def test_rows_of_a_later_gate_are_read_as_far_as_they_are_known() -> None:
    account = msgspec.msgpack.encode(["ACTIVE", 500, 200, 3, 0, {}, "appended"])
    position = msgspec.msgpack.encode([70, 20, b"", 1, 2])
    rows = [(ACCOUNTS + b"A", account), (POSITIONS + b"A/AAPL", position), (b"holdings/A", b"\xff")]
    balance = Balance(3, {CASH: 300, "AAPL": 50}, {CASH: 200, "AAPL": 20})
    assert gate_accounts(rows) == {"A": (3, balance)}


@pytest.mark.parametrize(
    "value", [b"\xff", msgspec.msgpack.encode(["NEITHER"]), msgspec.msgpack.encode(["ACTIVE", "5"])]
)
def test_bytes_that_are_no_row_are_refused(value: bytes) -> None:
    with pytest.raises(ValueError):
        gate_accounts([(ACCOUNTS + b"A", value)])


def test_head_is_written_as_the_verifier_has_it() -> None:
    assert head_of(msgspec.msgpack.encode(GateChain(7, bytes(range(32))))) == (7, bytes(range(32)).hex())


def test_row_of_an_older_gate_has_the_defaults() -> None:
    rows = [
        (ACCOUNTS + b"A", msgspec.msgpack.encode(["SUSPENDED", 5])),
        (POSITIONS + b"A/S", msgspec.msgpack.encode([1])),
    ]
    assert gate_accounts(rows) == {"A": (0, Balance(0, {CASH: 5, "S": 1}, {}))}
    assert GateAccount(AccountStatus.ACTIVE).seq == GatePosition().reserved_qty == 0


def test_stores_are_found_of_one_worker_and_of_many(tmp_path: Path) -> None:
    places = ("risk/gate/0/store", "replica-1/risk/gate/3/store", "risk/other/0/store", "orders/gate/0/store")
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    assert gate_stores(tmp_path) == sorted(tmp_path / place for place in places[:2])
