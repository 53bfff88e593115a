"""Answers to reads: from PostgreSQL, and from the tail of the log where the projection is behind it.

Every answer says where it is from and how old it may be. A client that was told of a commit finds it in what it reads
next: an order at once from the tail; lists and balances after the projection has it, for which a read waits a moment.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

from common.contracts.events import ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER
from common.contracts.views import AccountData
from streams.kafka.partitioner import partition_of

from orders.profits import AccountProfit, Profits
from orders.queries import Page, Queries
from orders.recent import Recent
from orders.stops import Place
from orders.trouble import DatabaseAway, Trouble

T = TypeVar("T")
CATCH_UP_S: Final = 0.5
"""Seconds that a read waits for the projection to have what the tail has brought."""
TAIL_LOOKUP_S: Final = 0.25
"""Seconds that PostgreSQL may take for an order of which the tail has brought the decision and no event."""
DECISIONS_WAIT_S: Final = 0.1
"""Seconds that a cancel of an unknown order waits for the decisions on all intents before it. They come as fast as
orders are answered, and spare the log a message about an order that never was.
"""


class Source(StrEnum):
    """The origin of an answer."""

    PROJECTION = "projection"
    TAIL = "tail"


@dataclass(frozen=True, slots=True)
class AsOf:
    """Completeness of an answer: everything committed before ``time_ns`` is in it; 0: not known.

    ``behind``: something that concerns the answer is known to be committed and is not in it yet.
    """

    source: Source
    time_ns: int
    behind: bool = False

    def header(self, now_ns: int) -> str:
        """A dictionary of RFC 9651: ``source=tail, time_ms=1700000000000, age_ms=12``."""
        members = [f"source={self.source.value}"]
        if self.time_ns:
            members += [f"time_ms={self.time_ns // 1_000_000}", f"age_ms={max(0, now_ns - self.time_ns) // 1_000_000}"]
        return ", ".join([*members, *(["behind"] if self.behind else [])])


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer, and the time as of which it holds."""

    value: T
    as_of: AsOf


class Projected(Protocol):
    """The state of this process's projection, as far as reads need it."""

    def reached(self, place: Place) -> int:
        """Next offset of a partition of a topic."""
        ...

    def as_of_ns(self, place: Place) -> int:
        """Time up to which what was committed on the partition is projected; 0: not known."""
        ...

    def is_going_on(self, place: Place) -> bool:
        """Whether there is any use in waiting for it."""
        ...

    async def moved(self) -> None:
        """Returns after the next transaction."""
        ...


class Reads:
    """Every method raises DatabaseAway where neither PostgreSQL nor the tail can tell."""

    def __init__(
        self, queries: Queries, recent: Recent, projected: Projected, tail_as_of_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.queries = queries
        self._recent = recent
        self._projected = projected
        self._tail_as_of_ns = tail_as_of_ns
        self._profits = Profits(queries)

    async def is_absent(self, order_id: str, intents_offset: int) -> bool:
        """Whether no intent before that offset has this id, for certain: each is decided, and no order came of it."""
        decisions = _place(RISK_DECISIONS.name, order_id.split(".", 1)[0])
        if not await self._recent.decides(decisions[1], intents_offset, DECISIONS_WAIT_S):
            return False
        reached, as_of_ns = self._projected.reached(decisions), self._projected.as_of_ns(decisions)
        if not self._recent.covers(decisions, reached, as_of_ns):
            return False
        try:
            return (await self.order(order_id)).value is None
        except DatabaseAway:
            return False

    def tail_event(self, order_id: str) -> OrderEvent | None:
        """The newest event of the order, where the tail has brought one that is not projected yet."""
        return self._recent.event(order_id)

    async def order(self, order_id: str) -> Answer[OrderEvent | None]:
        """The order as the log has it; None where there is none for certain."""
        if (event := self._recent.event(order_id)) is not None:
            return Answer(event, self._tail())
        if self._recent.decided(order_id) is not None:
            return await self._decided(order_id)
        place = _place(ORDERS_EVENTS.name, order_id.split(".", 1)[0])
        as_of = self._projection(place)
        if (order := await self.queries.order(order_id)) is not None:
            return Answer(order, as_of)
        return await self._absent(order_id, place, as_of)

    async def _decided(self, order_id: str) -> Answer[OrderEvent | None]:
        """Its events may have gone past before its decision came, which says less than they do."""
        try:
            async with asyncio.timeout(TAIL_LOOKUP_S):
                projected = await self.queries.order(order_id)
        except (DatabaseAway, TimeoutError):
            projected = None
        known = self._recent.order(order_id)
        if projected is not None and (known is None or known.revision <= projected.revision):
            self._recent.forget_decided(order_id)
            return Answer(projected, self._projection(_place(ORDERS_EVENTS.name, projected.account_id)))
        return Answer(known, self._tail())

    async def _absent(self, order_id: str, place: Place, as_of: AsOf) -> Answer[OrderEvent | None]:
        """None only where PostgreSQL and the tail together have seen everything. Raises DatabaseAway otherwise."""
        absence = await self.queries.absence(order_id, place[1])
        if not absence.is_absent:
            return Answer(await self.queries.order(order_id), as_of)
        if (known := self._recent.order(order_id)) is not None:
            return Answer(known, self._tail())
        if absence.is_decided:
            raise DatabaseAway(Trouble.BEHIND, f"order {order_id} is decided, and its first event is not there yet")
        if not self._recent.covers(place, absence.next_offset, as_of.time_ns):
            raise DatabaseAway(Trouble.BEHIND, f"the projection is behind; order {order_id} may be in what it lacks")
        return Answer(None, as_of)

    async def orders(self, account_id: str, before: int | None, limit: int) -> Answer[Page[OrderEvent]]:
        """A page of the account's orders, newest first, each in its newest state."""
        place = _place(ORDERS_EVENTS.name, account_id)
        is_caught_up = await self._caught_up(place, self._recent.event_offset(account_id))
        as_of = self._projection(place, not (is_caught_up and self._covers(place)))
        page = await self.queries.orders(account_id, before, limit)
        page.items = [self._newest(order) for order in page.items]
        return Answer(page, as_of)

    def _newest(self, order: OrderEvent) -> OrderEvent:
        known = self._recent.event(order.order_id)
        return known if known is not None and known.revision > order.revision else order

    async def order_events(self, order_id: str, after: int, limit: int) -> Answer[Page[OrderEvent] | None]:
        """A page of an order's events, by revision; None where there is no such order.

        Of an order that is not projected yet the newest event is all there is, and the answer says that it is behind.
        """
        account_id = order_id.split(".", 1)[0]
        place = _place(ORDERS_EVENTS.name, account_id)
        is_caught_up = await self._caught_up(place, self._recent.event_offset(account_id))
        as_of = self._projection(place, not (is_caught_up and self._covers(place)))
        try:
            page = await self.queries.order_events(order_id, after, limit)
        except DatabaseAway:
            if self._recent.order(order_id) is None:
                raise
            page = Page(items=[])
        if page.items:
            return Answer(page, as_of)
        known = await self.order(order_id)
        if known.value is None:
            return Answer(None, known.as_of)
        if known.value.revision <= after:
            return Answer(page, as_of)
        is_first = known.value.revision == after + 1
        return Answer(Page(items=[known.value]), replace(known.as_of, behind=not is_first))

    async def executions(self, account_id: str, before: int | None, limit: int) -> Answer[Page[ExecutionReport]]:
        """A page of the account's execution reports, newest first."""
        as_of = self._projection(_place(ORDERS_EXECUTIONS.name, account_id))
        return Answer(await self.queries.executions(account_id, before, limit), as_of)

    async def ledger(self, account_id: str, after: int, limit: int) -> Answer[Page[LedgerEntry]]:
        """A page of the account's ledger, by sequence."""
        seq, as_of = await self._settled(account_id, self.queries.ledger_seq)
        page = await self.queries.ledger(account_id, after, limit)
        return Answer(page, self._of_account(account_id, as_of, seq))

    async def profit(self, account_id: str) -> Answer[AccountProfit]:
        """Profit of the account, up to the newest entry of its ledger."""
        seq, as_of = await self._settled(account_id, self.queries.ledger_seq)
        profit = await self._profits.account(account_id, seq)
        return Answer(profit, self._of_account(account_id, as_of, profit.seq))

    async def account(self, account_id: str) -> Answer[AccountData | None]:
        """Status and balances. What the gate answered last is in it, or the answer says that it is behind."""
        newest: AccountData | None = None

        async def ledger_seq(account_id: str) -> int:
            nonlocal newest
            newest = await self.queries.account(account_id)
            return newest.seq if newest is not None else 0

        opened = self._opened(account_id)
        try:
            seq, as_of = await self._settled(account_id, ledger_seq)
        except DatabaseAway:
            if opened is None:
                raise
            return Answer(opened, self._tail())
        as_of = self._of_account(account_id, as_of, seq)
        if newest is None and (as_of.behind or not self._covers(_place(RISK_DECISIONS.name, account_id))):
            if opened is not None:
                return Answer(opened, self._tail())
            raise DatabaseAway(Trouble.BEHIND, f"the projection is behind; it may lack account {account_id}")
        if newest is None:
            return Answer(opened, as_of if opened is None else self._tail())
        return Answer(self._with_status(newest), as_of)

    def _opened(self, account_id: str) -> AccountData | None:
        """An account that was opened and has no entry yet: its answer tells all there is to know."""
        result = self._recent.command_result(account_id)
        if result is None or result.status is None or self._recent.ledger_seq(account_id):
            return None
        return AccountData(
            account_id=account_id, status=result.status.value, cash_e4=0, reserved_cash_e4=0, positions=(), seq=0
        )

    def _with_status(self, account: AccountData) -> AccountData:
        """With the status that the tail has brought, where the projection has not passed that answer."""
        result = self._recent.command_result(account.account_id)
        if result is None or result.status is None:
            return account
        place = _place(RISK_DECISIONS.name, account.account_id)
        if self._recent.result_offset(account.account_id) < self._projected.reached(place):
            return account
        return account.model_copy(update={"status": result.status.value})

    async def _settled(self, account_id: str, ask: Callable[[str], Awaitable[int]]) -> tuple[int, AsOf]:
        """Asks until the ledger of the account is as far as the gate's newest answer, or no longer is worth waiting."""
        place = _place(RISK_LEDGER.name, account_id)
        wanted = self._recent.ledger_seq(account_id)
        deadline = time.monotonic() + CATCH_UP_S
        while True:
            as_of = self._projection(place)
            moved = asyncio.ensure_future(self._projected.moved())
            try:
                if (seq := await ask(account_id)) >= wanted:
                    return seq, as_of
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0 or not self._projected.is_going_on(place):
                    return seq, as_of
                await asyncio.wait({moved}, timeout=remaining_s)
            finally:
                moved.cancel()

    def _of_account(self, account_id: str, as_of: AsOf, seq: int) -> AsOf:
        return AsOf(as_of.source, as_of.time_ns, seq < self._recent.ledger_seq(account_id))

    async def _caught_up(self, place: Place, offset: int) -> bool:
        """Whether the projection has the record at the offset, for which it is given a moment."""
        deadline = time.monotonic() + CATCH_UP_S
        while self._projected.reached(place) <= offset:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not self._projected.is_going_on(place):
                return False
            try:
                async with asyncio.timeout(remaining_s):
                    await self._projected.moved()
            except TimeoutError:
                return False
        return True

    def _covers(self, place: Place) -> bool:
        return self._recent.covers(place, self._projected.reached(place), self._projected.as_of_ns(place))

    def _projection(self, place: Place, behind: bool = False) -> AsOf:
        return AsOf(Source.PROJECTION, self._projected.as_of_ns(place), behind)

    def _tail(self) -> AsOf:
        return AsOf(Source.TAIL, self._tail_as_of_ns())


def _place(topic: str, account_id: str) -> Place:
    return topic, partition_of(account_id.encode(), ORDERS_EVENTS.partitions)
