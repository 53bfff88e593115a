"""Rows that the gate writes, read by the ledger's readers, who share no code with it."""

from common.contracts.events import CASH, AccountStatus
from common.contracts.values import INT64_MAX
from common.ledger.gate_rows import ACCOUNTS, CHAIN, POSITIONS, gate_accounts, head_of
from common.runtime.store import row_key
from common.runtime.tables import Changelogged
from hypothesis import given, settings
from hypothesis import strategies as st
from risk.domain.account import AccountRow, PositionRow
from risk.domain.chain import ChainRow
from risk.tables import CHAIN_KEY, TABLES, position_key

CODECS = {table.name: table.codec for table in TABLES if isinstance(table, Changelogged)}
AMOUNTS = st.integers(0, INT64_MAX)
NAMES = st.text("ABCXYZ019.-", min_size=1, max_size=8)
ACCOUNT_ROWS = st.builds(
    AccountRow,
    st.sampled_from(AccountStatus),
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    st.dictionaries(NAMES, st.binary(min_size=1, max_size=20), max_size=2),
)
POSITION_ROWS = st.builds(PositionRow, AMOUNTS, AMOUNTS, st.binary(max_size=20))


@settings(max_examples=200)
@given(ACCOUNT_ROWS, st.dictionaries(NAMES, POSITION_ROWS, max_size=3), NAMES)
def test_account_as_the_gate_writes_it_is_read_as_it_is(
    account: AccountRow, positions: dict[str, PositionRow], account_id: str
) -> None:
    rows = [(row_key("accounts", account_id.encode()), CODECS["accounts"].encode(account))]
    for symbol, position in positions.items():
        key = position_key(account_id.encode(), symbol)
        rows.append((row_key("positions", key), CODECS["positions"].encode(position)))
    (seq, balance), *others = gate_accounts(rows).values()
    assert not others and seq == balance.seq == account.seq
    assert balance.available.get(CASH, 0) == account.available_cash_e4
    assert balance.reserved.get(CASH, 0) == account.reserved_cash_e4
    assert {s: balance.available.get(s, 0) for s in positions} == {s: p.available_qty for s, p in positions.items()}
    assert {s: balance.reserved.get(s, 0) for s in positions} == {s: p.reserved_qty for s, p in positions.items()}


@given(st.integers(0, INT64_MAX), st.binary(min_size=32, max_size=32))
def test_head_of_the_chain_is_read_under_the_key_that_the_gate_uses(seq: int, head: bytes) -> None:
    assert row_key("chain", CHAIN_KEY) == CHAIN
    assert head_of(CODECS["chain"].encode(ChainRow(seq, head))) == (seq, head.hex())


def test_keys_begin_as_the_gate_writes_them() -> None:
    assert row_key("accounts", b"A").startswith(ACCOUNTS)
    assert row_key("positions", position_key(b"A", "S")) == POSITIONS + b"A/S"
