"""A log of every projected topic, and what an operator sees of it in PostgreSQL."""

import itertools
from typing import Any

import asyncpg
from common.contracts.events import CASH, Book, EntryKind, ExecType, LedgerEntry, Posting
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER, Topic
from orders.database import Database
from orders.domain.lifecycle import on_decision
from orders.rebuild import rebuild, tables
from orders.sink import ProjectionSink
from orders.stops import Place
from streams.model.message import Message

PARTITIONS = 2
DERIVED = [name for name in tables() if name not in ("projection_holes", "projection_rebuilds")]


async def sql(database: Database, statement: str) -> list[asyncpg.Record]:
    """As an operator with psql."""
    return await database.read(lambda connection: connection.fetch(statement))


async def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is derived from the log, without the numbers of rows."""
    found = {}
    for table in DERIVED:
        records = await sql(database, f"SELECT * FROM {table}")
        found[table] = sorted(
            (tuple(str(value) for name, value in record.items() if name != "number") for record in records),
        )
    return found


class History:
    """A log of all projected topics, as the runtime hands it on: from the sink's own positions."""

    def __init__(self, make: Any, accounts: int = 4, orders: int = 3) -> None:
        self.messages: list[Message] = []
        offsets: dict[Place, itertools.count[int]] = {}
        for number in range(accounts):
            account, partition = f"A{number}", number % PARTITIONS
            for topic, body in self._of(make, account, orders):
                offset = next(offsets.setdefault((topic.name, partition), itertools.count(0, 2)))
                value = topic.schema.encode(body)
                self.messages.append(Message(topic, partition, offset, account.encode(), value, 1_000))

    @staticmethod
    def _of(make: Any, account: str, orders: int) -> list[tuple[Topic, Any]]:
        found: list[tuple[Topic, Any]] = []
        for number in range(1, orders + 1):
            terms = (
                {}, {"time_in_force": "FOK", "min_qty": number}, {"time_in_force": "GTD", "expire_ns": 10**18 + number},
            )[number % 3]  # fmt: skip
            decision = make.decision(make.intent(str(number), account_id=account, **terms), account_seq=number)
            legs = (
                Posting(book=Book.AVAILABLE, asset=CASH, amount=number),
                Posting(book=Book.EXTERNAL, asset=CASH, amount=-number),
            )
            entry = LedgerEntry(account_id=account, seq=number, kind=EntryKind.FUND, postings=legs, booked_ns=number)
            report = make.report(1, ExecType.NEW, order_id=decision.order_id, leaves_qty=100)
            event = on_decision(None, decision, 7).order
            found += [(RISK_DECISIONS, decision), (RISK_LEDGER, entry), (ORDERS_EVENTS, event)]
            found += [(ORDERS_EXECUTIONS, report)]
        return found

    def place(self, topic: Topic, partition: int) -> list[Message]:
        return [m for m in self.messages if (m.topic, m.partition) == (topic, partition)]

    async def project(self, sink: ProjectionSink) -> None:
        """All that the positions lack, as after the follower was opened anew."""
        positions = await sink.positions()
        due = [m for m in self.messages if m.offset >= positions.get((m.topic.name, m.partition), 0)]
        if due:
            await sink.apply(due, {(m.topic.name, m.partition): m.offset + 1 for m in due})


def stopped(sink: ProjectionSink) -> list[tuple[str, int, int, str]]:
    return sorted((*place, stop.offset, stop.account_id) for place, stop in sink.stops.by_place.items())


async def make_anew(database: Database, *, recreate: bool = False) -> None:
    await database.transaction(lambda connection: rebuild(connection, "test", "by hand", recreate=recreate))
