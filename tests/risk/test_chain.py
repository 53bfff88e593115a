"""The gate's chain against the words of the contract: computed here from the entries as a reader sees them."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from common.contracts.events import ExecType, LedgerEntry
from common.contracts.values import E4
from common.testing.orders import intent, report, trade
from risk.tables import CHAIN_KEY


def chained(entries: Iterable[LedgerEntry], partition: int) -> list[tuple[int, str]]:
    """Number and chain of each entry, as they must be."""
    head, places = hashlib.sha256(b"risk.ledger/%d" % partition).digest(), []
    for number, entry in enumerate(entries, 1):
        fields = entry.model_dump(mode="json", exclude_none=True, exclude={"chain"}) | {"chain_seq": number}
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
        head = hashlib.sha256(head + text.encode()).digest()
        places.append((number, head.hex()))
    return places


def traded(desk: Any) -> None:
    """Money comes, two accounts trade, an order is filled in part and canceled."""
    desk.open(cash_e4=10_000 * E4, shares=50)
    desk.open("acct-2", cash_e4=5_000 * E4)
    order = intent("o1")
    desk.decide(order)
    desk.decide(intent("o1", "acct-2", qty=7))
    desk.send(trade(order, "x1", 4, 98 * E4, cum_qty=4))
    desk.send(report(order, ExecType.CANCELED, "x2", cum_qty=4))


def test_every_entry_of_a_partition_is_the_next_link_of_its_chain(desk: Any) -> None:
    traded(desk)
    assert len(desk.ledger) == 7
    assert [(entry.chain_seq, entry.chain) for entry in desk.ledger] == chained(desk.ledger, desk.tables.partition)


def test_row_of_the_chain_is_its_last_link(desk: Any) -> None:
    traded(desk)
    row = desk.tables.changelogged("chain").get(CHAIN_KEY)
    assert (row.seq, row.head.hex()) == (desk.ledger[-1].chain_seq, desk.ledger[-1].chain)


def test_what_books_nothing_leaves_the_chain_as_it_is(desk: Any) -> None:
    traded(desk)
    before = desk.tables.changelogged("chain").rows.copy()
    assert desk.decide(intent("o1")).repeat
    assert not desk.decide(intent("o2", qty=10**9)).accepted
    assert desk.tables.changelogged("chain").rows == before
