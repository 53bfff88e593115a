"""Common parts of answers to intents, commands and reports: a record of the decisions, entries, rows of money."""

from typing import Final

import msgspec
from common.contracts.events import CommandResult
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER
from streams.model.log import StoredRecord
from streams.model.message import Message, Output
from streams.model.tables import Tables

from risk.domain.account import AccountRow, PositionRow
from risk.domain.chain import ChainRow, genesis, link
from risk.domain.ledger import Entry
from risk.tables import CHAIN_KEY, put_position
from risk.wire import encode_entry


class LastEntry(msgspec.Struct, frozen=True, gc=False):
    """The place in the chain that a ledger entry has; one of version 1 has none, as the beginning."""

    chain_seq: int = 0
    chain: str | None = None


_decode_last: Final = msgspec.json.Decoder(LastEntry).decode


def answer(message: Message, body: CommandResult | bytes) -> Output:
    """A record of ``risk.decisions``."""
    assert message.key is not None
    return Output(RISK_DECISIONS, message.key, body, message.partition)


def book(message: Message, tables: Tables, entry: Entry) -> Output:
    """The entry as the next link of the partition's chain."""
    assert message.key is not None
    value, head = link(last_link(tables, message.partition), encode_entry(entry))
    tables.changelogged("chain").put(CHAIN_KEY, head)
    return Output(RISK_LEDGER, message.key, value, message.partition)


def last_link(tables: Tables, partition: int) -> ChainRow:
    """Link that the partition's next entry is chained to."""
    last: ChainRow | None = tables.changelogged("chain").get(CHAIN_KEY)
    return last or genesis(partition)


def continues_ledger(tables: Tables, last: StoredRecord | None) -> None:
    """Holds the accounts to the partition's last ledger entry, before a first one is written behind it.

    Raises ValueError where the chain of the entries and that of the tables do not end alike: the tables are older or
    newer than the ledger, and what they would book has been booked, or stands on what was not.
    """
    known = last_link(tables, tables.partition)
    entry = LastEntry() if last is None else _decode_last(last.value or b"")
    if entry.chain_seq != known.seq or (entry.chain is not None and entry.chain != known.head.hex()):
        raise ValueError(f"its last entry is number {entry.chain_seq} of the chain, that of the accounts {known.seq}")


def keep(
    tables: Tables,
    account_key: bytes,
    account: AccountRow,
    symbol: str,
    before: PositionRow | None,
    after: PositionRow | None,
) -> None:
    """Writes the account and, where a movement touched it, its position in ``symbol``."""
    tables.changelogged("accounts").put(account_key, account)
    if after is not None and after != before:
        put_position(tables, account_key, symbol, before, after)
