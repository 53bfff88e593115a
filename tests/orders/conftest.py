"""Tables of the real overlay on a store in memory, and builders of messages."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import structlog
from common.contracts.cancels import MassCancel, OrderCancel
from common.contracts.events import (
    Decision,
    ExecType,
    ExecutionReport,
    OrderIntent,
    ReasonCode,
    VenueCancel,
    VenueOrder,
)
from common.contracts.leases import LeaseKept, LeaseLapsed
from common.contracts.market import MARK, encode_rows
from common.contracts.topics import Topic
from common.contracts.values import OrderType, Side, TimeInForce, order_id_of
from fastapi import FastAPI
from orders.api.web import create_api
from orders.database import Database
from orders.desk import Desk
from orders.queries import Queries
from orders.reads import Reads
from orders.recent import Recent
from orders.settings import OrdersPostgresSettings, OrdersSettings
from orders.sink import ProjectionSink
from orders.stops import Place
from orders.verdicts import Verdicts
from parts import LocalStack
from pydantic import SecretStr
from streams.model.message import Message, Output, View
from streams.model.tables import TableDeclaration
from streams.testing.tables import MemoryTables

from tests.orders.projected_log import Log, open_database


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="session")
def local_stack() -> Iterator[LocalStack]:
    """PostgreSQL alone: all that most of these tests need of the session's stack. The worker's test starts its own."""
    with LocalStack({"postgres"}) as running:
        yield running


class Bench:
    """One task of a stage without a log: what goes in is handled at once."""

    def __init__(self, handler: Any, declarations: Sequence[TableDeclaration], partition: int = 0) -> None:
        self.handler = handler
        self.tables = MemoryTables(declarations, partition)
        self.now_ns = 1_000
        self._offsets = itertools.count()

    def handle(self, topic: Topic, key: str, body: Any, offset: int | None = None) -> list[Output | View]:
        """Encodes and handles. A body of bytes goes in as it is."""
        number = next(self._offsets) if offset is None else offset
        value = body if isinstance(body, bytes) else topic.schema.encode(body)
        self.now_ns += 1
        message = Message(topic, self.tables.partition, number, key.encode(), value, 0)
        return list(self.handler(message, self.tables, self.now_ns))

    def rows(self, table: str) -> dict[bytes, Any]:
        return dict(self.tables.changelogged(table).prefix(b""))

    def state(self) -> dict[tuple[str, bytes], bytes]:
        """Every row, encoded."""
        return self.tables.rows()


def bodies(handled: Iterable[Output | View], topic: Topic) -> list[Any]:
    """Bodies that were written to one topic, through its bytes."""
    return [
        topic.schema.decode(topic.schema.encode(one.body))
        for one in handled
        if isinstance(one, Output) and one.topic is topic
    ]


class NoProjection:
    """Implements ``orders.reads.Projected`` where nothing is projected."""

    def reached(self, place: Place) -> int:
        return 0

    def as_of_ns(self, place: Place) -> int:
        return 0

    def is_going_on(self, place: Place) -> bool:
        return False

    async def moved(self) -> None:
        await asyncio.Event().wait()


class Make:
    """Builders with every field that a test does not care about filled in."""

    bench = Bench
    bodies = staticmethod(bodies)

    def __init__(self) -> None:
        self._offsets = itertools.count()

    def api(self, sender: Any, settings: OrdersSettings | None = None) -> tuple[FastAPI, Verdicts]:
        """The API in front of ``sender``, without a PostgreSQL, and those who wait for an answer."""
        away = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
        settings = (settings or OrdersSettings()).model_copy(update={"postgres": OrdersPostgresSettings(dsn=away)})
        verdicts = Verdicts(settings.inflight_max)
        desk = Desk(sender, verdicts, settings, lambda: True, sender)
        return create_api(desk, self.reads(settings), settings), verdicts

    def intent(self, client_order_id: str = "1", *, account_id: str = "A", **changes: Any) -> OrderIntent:
        fields = {"symbol": "AAPL", "side": Side.BUY, "order_type": OrderType.LIMIT, "qty": 100, "sent_ns": 500}
        if changes.get("order_type") is not OrderType.MARKET:
            fields["limit_price_e4"] = 1_000_000
        return OrderIntent(account_id=account_id, client_order_id=client_order_id, **(fields | changes))

    def decision(self, intent: OrderIntent, reason: ReasonCode | None = None, **changes: Any) -> Decision:
        fields: dict[str, Any] = {
            "account_id": intent.account_id,
            "client_order_id": intent.client_order_id,
            "order_id": order_id_of(intent.account_id, intent.client_order_id),
            "accepted": reason is None,
            "reason": reason,
            "intent": intent,
            "instrument_id": 8,
            "protection_price_e4": None if reason else intent.limit_price_e4 or 1_050_000,
            "account_seq": 1,
            "decided_ns": 600,
            "intent_partition": 0,
            "intent_offset": next(self._offsets),
        }
        return Decision(**(fields | changes))

    def cancel(self, order_id: str = "A.1", intents_offset: int | None = None, sent_ns: int = 700) -> OrderCancel:
        account_id = order_id.split(".")[0]
        return OrderCancel(account_id=account_id, order_id=order_id, sent_ns=sent_ns, intents_offset=intents_offset)

    def mass_cancel(self, intents_offset: int, account_id: str = "A", **changes: Any) -> MassCancel:
        return MassCancel(account_id=account_id, sent_ns=700, intents_offset=intents_offset, **changes)

    def lease(self, lease_id: str = "desk", account_id: str = "A", **changes: Any) -> LeaseKept:
        fields: dict[str, Any] = {"grace_ms": 10_000, "sent_ns": 700}
        return LeaseKept(account_id=account_id, lease_id=lease_id, **(fields | changes))

    def lapse(
        self, kept_offset: int, intents_offset: int, lease_id: str = "desk", account_id: str = "A"
    ) -> LeaseLapsed:
        return LeaseLapsed(
            account_id=account_id,
            lease_id=lease_id,
            kept_offset=kept_offset,
            intents_offset=intents_offset,
            sent_ns=800,
        )

    def report(self, number: int, exec_type: ExecType, *, order_id: str = "A.1", **changes: Any) -> ExecutionReport:
        fields = {"symbol": "AAPL", "side": Side.BUY, "venue_ns": 800, "account_id": order_id.split(".")[0]}
        return ExecutionReport(
            execution_id=f"{order_id}.{number}", exec_type=exec_type, order_id=order_id, **(fields | changes)
        )

    def venue_order(self, order_id: str = "A.1", **changes: Any) -> VenueOrder:
        fields: dict[str, Any] = {
            "account_id": order_id.split(".")[0],
            "symbol": "AAPL",
            "instrument_id": 8,
            "side": Side.BUY,
            "order_type": OrderType.LIMIT,
            "time_in_force": TimeInForce.DAY,
            "qty": 100,
            "limit_price_e4": 1_000_000,
            "sent_ns": 500,
        }
        return VenueOrder(order_id=order_id, **(fields | changes))

    def venue_cancel(self, order_id: str = "A.1", **changes: Any) -> VenueCancel:
        fields = {"symbol": "AAPL", "instrument_id": 8, "side": Side.BUY, "sent_ns": 900}
        return VenueCancel(order_id=order_id, account_id=order_id.split(".")[0], **(fields | changes))

    def reads(self, settings: OrdersSettings, recent: Recent | None = None) -> Reads:
        """Reads of a process whose projection does not run."""
        return Reads(
            Queries(Database(settings.postgres, 2)), recent or Recent(settings.orders_recent_max), NoProjection()
        )

    def mark(
        self,
        *,
        bid: tuple[int, int] = (990_000, 300),
        ask: tuple[int, int] = (1_000_000, 300),
        symbol: str = "AAPL",
        state: str = "T",
        event_ns: int = 0,
    ) -> bytes:
        row = np.zeros(1, MARK)
        row[0]["symbol"] = symbol.encode()
        row[0]["instrument_id"] = 8
        row[0]["trading_state"] = ord(state)
        row[0]["event_ns"] = event_ns
        row[0]["bid_e4"], row[0]["bid_size"] = bid
        row[0]["ask_e4"], row[0]["ask_size"] = ask
        return encode_rows(row)

    def clock(self, event_ns: int) -> bytes:
        """The clock row of a partition of ``md.marks``."""
        row = np.zeros(1, MARK)
        row[0]["instrument_id"] = -1
        row[0]["event_ns"] = event_ns
        return encode_rows(row)


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def make_once() -> Make:
    """For property tests: builders keep nothing between examples that matters."""
    return Make()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = open_database(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def log(database: Database) -> Log:
    sink = ProjectionSink(database)
    assert await sink.positions() == {}
    return Log(sink)
