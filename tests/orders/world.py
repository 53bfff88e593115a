"""A log, the gate's answers and a venue in the process, around the API and the lifecycle as they are."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from common.contracts.events import (
    AccountStatus,
    CommandResult,
    ExecType,
    OrderEvent,
    OrderState,
    ReasonCode,
    SetAccount,
    VenueOrder,
)
from common.contracts.topics import (
    ORDERS_CANCEL_REPORTS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    ORDERS_LEASES,
    RISK_COMMANDS,
    RISK_DECISIONS,
    VENUE_ORDERS,
    Topic,
)
from common.contracts.values import order_id_of
from orders import stages
from orders.api.web import create_api
from orders.database import Database
from orders.desk import Desk
from orders.queries import Queries
from orders.reads import Reads
from orders.recent import Recent
from orders.settings import OrdersSettings
from orders.trouble import DatabaseAway, Trouble
from orders.verdicts import Verdicts
from streams.model.message import Message, Output

from tests.orders.conftest import NoProjection


class AwayDatabase(Database):
    """Says at once that it is away, so that what happens beside a cancel is for the test to choose."""

    async def transaction(self, work: Any, timeout_s: float | None = None) -> Any:
        raise DatabaseAway(Trouble.AWAY, "it is away")


class World:
    """One partition: the log, and the gate, the lifecycle and the venue, which go on when ``step`` is called.

    ``pauses`` says how many turns of the loop pass before and after each append, and before the log's end is told.
    """

    def __init__(self, make: Any, **changes: Any) -> None:
        self.make = make
        fields: dict[str, Any] = {"cancel_beside_ms": 0} | changes
        self.settings = OrdersSettings(**fields)
        self.verdicts = Verdicts(self.settings.inflight_max)
        self.recent = Recent(self.settings.orders_recent_max)
        self.bench = make.bench(stages.handle, stages.TABLES)
        self.pauses: Iterator[int] = itertools.repeat(0)
        self.intents: list[Any] = []
        self.ends: list[tuple[str | None, int | None]] = []
        """Order of each cancel that was appended, and the place it carries; none where the order was known."""
        self.gate_on = self.venue_on = True
        self.undecided: deque[int] = deque()
        self.commands: deque[tuple[int, SetAccount]] = deque()
        self.unread: deque[tuple[Topic, int, Any]] = deque()
        self.decisions: deque[Any] = deque()
        self.at_venue: deque[Any] = deque()
        self.reports: deque[Any] = deque()
        self.entered: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._offsets = itertools.count()
        self._command_offsets = itertools.count()
        self._lease_offsets = itertools.count()

    async def pause(self) -> None:
        for _ in range(next(self.pauses)):
            await asyncio.sleep(0)

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        await self.pause()
        match topic.name:
            case ORDERS_INTENTS.name:
                offset = len(self.intents)
                self.intents.append(body)
                self.undecided.append(offset)
            case ORDERS_CANCELS.name:
                offset = len(self.ends)
                self.ends.append((getattr(body, "order_id", None), body.intents_offset))
                self.unread.append((topic, offset, body))
            case ORDERS_LEASES.name:
                offset = next(self._lease_offsets)
                self.unread.append((topic, offset, body))
            case RISK_COMMANDS.name:
                offset = next(self._command_offsets)
                self.commands.append((offset, body))
        await self.pause()
        return 0, offset

    async def end(self, topic: Topic, key: bytes) -> int:
        assert topic is ORDERS_INTENTS
        end = len(self.intents)
        await self.pause()
        return end

    # --- gate, lifecycle, venue ---------------------------------------------------------------------------------------

    def step(self, choice: int) -> None:
        """One of the three goes on by one record, if it can."""
        (self._decide, self._command, self._read, self._handle, self._trade, self._report)[choice % 6]()

    def settle(self) -> None:
        """Until nothing is left that may go on."""
        for _ in range(4):
            for choice in range(6):
                while self._left(choice):
                    self.step(choice)

    def _left(self, choice: int) -> bool:
        gate, venue = self.gate_on, self.venue_on
        queues = (gate and self.undecided, gate and self.commands, self.unread, self.decisions, venue and self.at_venue)
        return bool((*queues, self.reports)[choice])

    def _decide(self) -> None:
        if not self.gate_on or not self.undecided:
            return
        offset = self.undecided.popleft()
        intent = self.intents[offset]
        order_id = order_id_of(intent.account_id, intent.client_order_id)
        repeat = self.entered.setdefault(order_id, offset) != offset
        reason = ReasonCode.MARK_STALE if intent.qty == 13 else None
        decision = self.make.decision(intent, reason, intent_offset=offset, repeat=repeat)
        self.decisions.append(decision)
        self._commit(RISK_DECISIONS, decision)

    def _command(self) -> None:
        if not self.gate_on or not self.commands:
            return
        offset, command = self.commands.popleft()
        suspends = command.status is AccountStatus.SUSPENDED
        result = CommandResult(
            account_id=command.account_id,
            command_id=command.command_id,
            accepted=True,
            status=command.status or AccountStatus.ACTIVE,
            resting=command.resting if suspends else None,
            account_seq=0,
            decided_ns=1,
            command_partition=0,
            command_offset=offset,
        )
        self.decisions.append(result)
        self._commit(RISK_DECISIONS, result)

    def _read(self) -> None:
        if self.unread:
            topic, offset, request = self.unread.popleft()
            self._handled(self.bench.handle(topic, request.account_id, request, offset))

    def _handle(self) -> None:
        if self.decisions:
            decision = self.decisions.popleft()
            self._handled(self.bench.handle(RISK_DECISIONS, decision.account_id, decision))

    def _trade(self) -> None:
        """The venue acknowledges and cancels; nothing trades."""
        if not self.venue_on or not self.at_venue:
            return
        request = self.at_venue.popleft()
        exec_type = ExecType.NEW if isinstance(request, VenueOrder) else ExecType.CANCELED
        leaves_qty = request.qty if isinstance(request, VenueOrder) else 0
        report = self.make.report(
            next(self._numbers),
            exec_type,
            order_id=request.order_id,
            leaves_qty=leaves_qty,
            symbol=request.symbol,
            side=request.side,
        )
        self.reports.append(report)

    def _report(self) -> None:
        if self.reports:
            report = self.reports.popleft()
            self._handled(self.bench.handle(ORDERS_EXECUTIONS, report.account_id, report))

    def _handled(self, handled: Any) -> None:
        for one in handled:
            if not isinstance(one, Output):
                continue
            body = one.topic.schema.decode(one.topic.schema.encode(one.body))
            if one.topic is VENUE_ORDERS:
                self.at_venue.append(body)
            else:
                assert one.topic in (ORDERS_EVENTS, ORDERS_CANCEL_REPORTS)
                self._commit(one.topic, body)

    def _commit(self, topic: Topic, body: Any) -> None:
        key = body.account_id.encode()
        message = Message(topic, 0, next(self._offsets), key, topic.schema.encode(body), 0)
        if topic is not ORDERS_CANCEL_REPORTS:
            self.recent.on_messages([message])
        self.verdicts.on_messages([message])

    def state(self, order_id: str) -> OrderState:
        order: OrderEvent = self.bench.rows("orders")[order_id.encode()]
        return order.state

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        reads = Reads(Queries(AwayDatabase(self.settings.postgres, 2)), self.recent, NoProjection())
        desk = Desk(self, self.verdicts, self.settings, lambda: True, self)
        api = create_api(desk, reads, self.settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://orders") as client:
            going_on = asyncio.create_task(self._go_on())
            try:
                yield client
            finally:
                going_on.cancel()
                await asyncio.gather(going_on, return_exceptions=True)

    async def _go_on(self) -> None:
        while True:
            self.settle()
            await asyncio.sleep(0)


def order(number: Any, account_id: str = "A", **changes: Any) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "client_order_id": str(number),
        "symbol": "AAPL",
        "side": "B",
        "order_type": "LIMIT",
        "qty": 100,
        "limit_price_e4": 1_000_000,
    } | changes
