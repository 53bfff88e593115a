"""The stage ``traders``: events of orders in; sessions of accounts out.

A session is written whenever it has changed, once in a batch, so that no clock need end it: a record says when it ends
if nothing follows. Its ``revision`` is the number of its events, which does not depend on how events are cut into
batches: whatever is killed, the last record of each session is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from common.avro.twins import TwinReader
from common.contracts.events import OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_SESSIONS
from common.contracts.trader_sessions import LateOrderEvent, TraderSession
from common.contracts.twins import twin_of, written
from msgspec.structs import asdict, replace
from streams.model.blocks import Answers, OutputList
from streams.model.message import Handled, Message, Output
from streams.model.tables import Tables

from signals import metrics
from signals.domain.trader_sessions import KnownOrder, Session, Tally, joined, known, reachable, tally_of
from signals.trader_tables import COUNTS, AccountRow, Counts, closed_key

INPUTS: Final = (ORDERS_EVENTS,)
OUTPUTS: Final = (ORDERS_SESSIONS,)
ORDERS: Final = TwinReader(ORDERS_EVENTS, twin_of(OrderEvent))
SESSION_TWIN: Final = twin_of(TraderSession)


class TraderStage:
    """The stage's handlers. ``gaps_ns``: of the sessions that are kept. ``lateness_ns``: an event that is earlier than
    the newest one of its partition by more is in no session.
    """

    def __init__(self, gaps_ns: Sequence[int], lateness_ns: int) -> None:
        self._gaps_ns = tuple(gaps_ns)
        self._lateness_ns = lateness_ns

    def handle(self, message: Message, tables: Tables, now_ns: int) -> Handled:
        """One event. Raises ValueError (poison) for what is none."""
        for _, key, value in self._followed([message.body], tables):
            yield Output(ORDERS_SESSIONS, key, value, tables.partition)

    def handle_batch(self, batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        """Events that are written as this release writes them are followed together; the others are ``handle``'s."""
        events = [ORDERS.read(message.value) for message in batch]
        for is_read, stretch in groupby(events, lambda event: event is not None):
            of: list[Any] = list(stretch)
            if is_read:
                output = OutputList(ORDERS_SESSIONS, tables.partition, encoded=self._followed(of, tables))
                yield Answers(len(of), [output])
            else:
                yield len(of)

    def _followed(self, events: Sequence[OrderEvent], tables: Tables) -> list[tuple[int, bytes, bytes]]:
        """Records: the number of the event that each answers, key and value."""
        run = _Run(self._gaps_ns, self._lateness_ns, tables)
        for number, event in enumerate(events):
            run.take(number, event)
        return run.ended()


class _Run:
    """Events that are followed together."""

    def __init__(self, gaps_ns: Sequence[int], lateness_ns: int, tables: Tables) -> None:
        self._gaps_ns, self._lateness_ns = gaps_ns, lateness_ns
        self._partition = tables.partition
        self._accounts, self._orders = tables.changelogged("accounts"), tables.changelogged("orders")
        self._closed, self._kept = tables.changelogged("closed"), tables.changelogged("counts")
        self._counts: Counts = self._kept.get(COUNTS) or Counts()
        self._changed: dict[tuple[str, int, int], tuple[int, Any]] = {}
        """Account, gap and start → the session as it stands, and the event that has changed it last."""
        self._late: list[tuple[int, bytes, bytes]] = []

    def take(self, number: int, event: OrderEvent) -> None:
        key = event.order_id.encode()
        before: KnownOrder | None = self._orders.get(key)
        counts = self._counts
        if before is not None and event.revision <= before.revision:
            self._counts = replace(counts, repeated=counts.repeated + 1)
            return
        row: AccountRow = self._accounts.get(event.account_id.encode()) or AccountRow()
        after = known(event)
        self._orders.put(key, after)
        if after.is_closed and not (before is not None and before.is_closed):
            row = self._retained(event, row)
        newest_ns = max(counts.newest_ns, event.updated_ns)
        if event.updated_ns < newest_ns - self._lateness_ns:
            self._counts = replace(counts, newest_ns=newest_ns, late=counts.late + 1)
            self._late.append((number, event.account_id.encode(), _late(event, newest_ns)))
        else:
            self._counts = replace(counts, newest_ns=newest_ns, windowed=counts.windowed + 1)
            sessions = self._joined(number, event, tally_of(event, before), row.sessions)
            row = AccountRow(row.closed, sessions)
        self._accounts.put(event.account_id.encode(), row)

    def _retained(self, event: OrderEvent, row: AccountRow) -> AccountRow:
        """The closed order takes a slot of its account's ring; the order that had it is forgotten."""
        slot = closed_key(event.account_id, row.closed)
        if (forgotten := self._closed.get(slot)) is not None:
            self._orders.delete(forgotten.encode())
        self._closed.put(slot, event.order_id)
        return AccountRow(row.closed + 1, row.sessions)

    def _joined(
        self, number: int, event: OrderEvent, tally: Tally, before: Mapping[int, tuple[Session, ...]]
    ) -> dict[int, tuple[Session, ...]]:
        """Sessions by gap after the event."""
        account_id, after = event.account_id, {}
        oldest_ns = self._counts.newest_ns - self._lateness_ns
        for gap_ns in self._gaps_ns:
            found = joined(reachable(before.get(gap_ns, ()), oldest_ns, gap_ns), event.updated_ns, tally, gap_ns)
            after[gap_ns] = found.sessions
            for each in found.taken_back:
                self._tell(number, _taken_back(account_id, gap_ns, each, found.session.start_ns))
            self._tell(number, _standing(account_id, gap_ns, found.session))
        return after

    def _tell(self, number: int, session: TraderSession) -> None:
        name = (session.account_id, session.gap_ns, session.start_ns)
        self._changed.pop(name, None)
        self._changed[name] = number, session

    def ended(self) -> list[tuple[int, bytes, bytes]]:
        """Keeps the counts. Returns records of what has changed: number of the event, key and value."""
        self._kept.put(COUNTS, self._counts)
        metrics.observe_traders(self._partition, self._counts)
        told = [(number, session.account_id.encode(), written(session)) for number, session in self._changed.values()]
        return [*self._late, *told]


def _standing(account_id: str, gap_ns: int, session: Session) -> TraderSession:
    return SESSION_TWIN(
        type="session",
        account_id=account_id,
        gap_ns=gap_ns,
        start_ns=session.start_ns,
        end_ns=session.last_ns + gap_ns,
        revision=session.tally.events,
        **asdict(session.tally),
    )


def _taken_back(account_id: str, gap_ns: int, session: Session, into_ns: int) -> TraderSession:
    return SESSION_TWIN(
        type="session",
        account_id=account_id,
        gap_ns=gap_ns,
        start_ns=session.start_ns,
        end_ns=session.start_ns,
        into_ns=into_ns,
        revision=session.tally.events + 1,
        **asdict(Tally()),
    )


def _late(event: OrderEvent, newest_ns: int) -> bytes:
    return written(
        LateOrderEvent(
            account_id=event.account_id,
            order_id=event.order_id,
            order_revision=event.revision,
            event_ns=event.updated_ns,
            newest_ns=newest_ns,
        )
    )
