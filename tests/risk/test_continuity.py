"""The gate's accounts continue the ledger that they write to, or nothing is written."""

import json
from typing import Any

import pytest
from common.testing.orders import ACCOUNT, fund
from risk.booking import continues_ledger
from streams.model.log import StoredRecord
from streams.testing.memory_log import MemoryRecord

ONE_E4 = 10_000


def last_record(desk: Any, back: int = 0) -> StoredRecord:
    """The ledger's last entry, or one before it, as it stands in the log."""
    entry = desk.ledger[-1 - back]
    return MemoryRecord(len(desk.ledger), b"key", entry.model_dump_json(exclude_none=True).encode(), 0, ())


def test_accounts_when_they_end_where_the_ledger_does_then_they_go_on(desk: Any) -> None:
    continues_ledger(desk.tables, None)
    desk.open(cash_e4=5 * ONE_E4)
    continues_ledger(desk.tables, last_record(desk))


def test_accounts_when_they_were_lost_then_the_ledger_refuses_them(desk: Any, new_desk: Any) -> None:
    desk.open(cash_e4=5 * ONE_E4)
    with pytest.raises(ValueError, match="number 1 of the chain, that of the accounts 0"):
        continues_ledger(new_desk().tables, last_record(desk))


def test_accounts_when_they_are_behind_or_ahead_then_the_ledger_refuses_them(desk: Any, new_desk: Any) -> None:
    desk.open(cash_e4=5 * ONE_E4)
    before = last_record(desk)
    desk.send(fund(ACCOUNT, command_id="more", cash_e4=ONE_E4))
    with pytest.raises(ValueError, match="number 1 of the chain, that of the accounts 2"):
        continues_ledger(desk.tables, before)
    with pytest.raises(ValueError, match="number 0 of the chain, that of the accounts 2"):
        continues_ledger(desk.tables, None)


def test_accounts_when_another_entry_has_the_last_number_then_the_ledger_refuses_them(desk: Any) -> None:
    desk.open(cash_e4=5 * ONE_E4)
    record = last_record(desk)
    other = json.loads(record.value or b"") | {"chain": "0" * 64}
    with pytest.raises(ValueError, match="number 1"):
        continues_ledger(desk.tables, MemoryRecord(1, b"key", json.dumps(other).encode(), 0, ()))


def test_ledger_of_version_one_when_it_has_no_chain_then_it_is_a_beginning(desk: Any) -> None:
    continues_ledger(desk.tables, MemoryRecord(1, b"key", b'{"account_id":"a","seq":7}', 0, ()))
