"""The newest committed state of recent orders and accounts, from the tail of the log: what the projection lacks yet.

Every replica tails every partition, and an order stays here until the projection of this process has passed its newest
event. So what a client was told with 201 can be read at once, also while PostgreSQL is away. Records are kept as bytes
and decoded when they are asked for: most never are.
"""

import asyncio
import re
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.contracts.events import CommandResult, Decision, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, RISK_DECISIONS
from prometheus_client import Gauge
from streams.edges.followers import Positions
from streams.model.message import Message
from streams.process.logs import get_logger

from orders.domain.lifecycle import begun, concerns_no_order
from orders.stops import Place

_log = get_logger(__name__)

ORDER_ID: Final = re.compile(rb'"order_id":"([A-Za-z0-9_.-]+)"')
"""The first order id of a record. The name cannot occur within a text, where its quotes would be escaped."""
CONCERNS_NO_ORDER: Final = (b'"repeat":true', b'"reason":"DUPLICATE_ID"')
"""In a decision: see ``lifecycle.concerns_no_order``, which has the last word once the record is decoded."""
COMMAND_RESULT: Final = b'{"type":"command_result"'
KEPT = Gauge("tidemark_orders_recent_orders", "Orders kept until the projection has passed their newest event")


@dataclass(slots=True)
class _Order:
    """The newest event of an order, and the decision that began it where the tail has brought it."""

    event: Message
    decision: Message | None = None


@dataclass(slots=True)
class _Account:
    """The newest records that concern an account."""

    answer: Message | None = None
    """Decision or answer to a command; it tells the account's ledger sequence."""
    result: Message | None = None
    """The newest answer to a command; it tells the account's status."""
    event: Message | None = None


class Recent:
    """At most ``orders_max`` orders, as many that are decided and have no event yet, and as many accounts."""

    def __init__(self, orders_max: int) -> None:
        self._orders_max = orders_max
        self._count = 0
        self._orders: dict[int, OrderedDict[str, _Order]] = defaultdict(OrderedDict)
        """Partition of ``orders.events`` → orders, by the offset of their newest event."""
        self._decided: OrderedDict[str, Message] = OrderedDict()
        """Decisions whose order has no event here: the lifecycle has not handled them, or the tail is not that far."""
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._whole_from: dict[Place, tuple[int, int]] = {}
        self._seen: dict[Place, int] = {}
        self._newest_decision: dict[int, Message] = {}
        self._came = asyncio.Event()
        KEPT.set_function(lambda: self._count)

    # --- what the tail brings ----------------------------------------------------------------------------------------

    def on_started(self, positions: Positions) -> None:
        """The tail begins, or begins anew, at these places. What lies between, if anything, is not known here."""
        for place, position in positions.items():
            if self._seen.get(place, -1) < position:
                self._lacks(place, position)
                self._seen[place] = position

    def on_messages(self, messages: Sequence[Message]) -> None:
        """The callback of the tail. Never raises: a record that names no order is left out."""
        for message in messages:
            self._seen[message.topic.name, message.partition] = message.offset + 1
            value = message.value or b""
            is_event = message.topic.name == ORDERS_EVENTS.name
            account = self._account((message.key or b"").decode("utf-8", "replace"))
            if not is_event:
                if account.answer is None or CONCERNS_NO_ORDER[0] not in value:
                    account.answer = message
                if value.startswith(COMMAND_RESULT):
                    account.result = message
                    continue
                self._newest_decision[message.partition] = message
            if not (found := ORDER_ID.search(value)):
                continue
            order_id = found[1].decode("ascii")
            if is_event:
                account.event = message
                self._put_event(order_id, message)
            elif not any(mark in value for mark in CONCERNS_NO_ORDER):
                self._put_decision(order_id, message)
        self._came.set()
        self._came = asyncio.Event()

    def _account(self, account_id: str) -> _Account:
        known = self._accounts.get(account_id)
        if known is not None:
            self._accounts.move_to_end(account_id)
            return known
        if len(self._accounts) >= self._orders_max:
            _, oldest = self._accounts.popitem(last=False)
            if oldest.answer is not None:
                self._lacks((RISK_DECISIONS.name, oldest.answer.partition), oldest.answer.offset + 1)
        self._accounts[account_id] = known = _Account()
        return known

    def _put_event(self, order_id: str, message: Message) -> None:
        orders = self._orders[message.partition]
        known = orders.get(order_id)
        if known is not None:
            known.event = message
            orders.move_to_end(order_id)
            return
        orders[order_id] = _Order(message, self._decided.pop(order_id, None))
        self._count += 1
        if self._count > self._orders_max:
            partition = max(self._orders, key=lambda number: len(self._orders[number]))
            oldest_id, oldest = next(iter(self._orders[partition].items()))
            self._forget(partition, oldest_id, oldest.event.offset)

    def _put_decision(self, order_id: str, message: Message) -> None:
        known = self._known(order_id)
        if known is not None:
            known.decision = known.decision or message
        elif order_id not in self._decided:
            self._decided[order_id] = message
            if len(self._decided) > self._orders_max:
                self._decided.popitem(last=False)

    # --- what the projection has -------------------------------------------------------------------------------------

    def on_projected(self, reached: Mapping[Place, int]) -> None:
        """Forgets the orders whose newest event the projection has passed: they are read from PostgreSQL."""
        for partition, orders in self._orders.items():
            next_offset = reached.get((ORDERS_EVENTS.name, partition), 0)
            while orders:
                oldest = next(iter(orders))
                offset = orders[oldest].event.offset
                if offset >= next_offset:
                    break
                self._forget(partition, oldest, offset)

    def _forget(self, partition: int, order_id: str, offset: int) -> None:
        del self._orders[partition][order_id]
        self._count -= 1
        self._lacks((ORDERS_EVENTS.name, partition), offset + 1)

    def _lacks(self, place: Place, offset: int) -> None:
        """Records of the place before the offset may be missing here."""
        self._whole_from[place] = max(self._whole_from.get(place, (0, 0))[0], offset), time.time_ns()

    # --- what is asked -----------------------------------------------------------------------------------------------

    def order(self, order_id: str) -> OrderEvent | None:
        """The order as the log has it, where its newest event is kept; begun by its decision where it has none yet."""
        if (event := self.event(order_id)) is not None:
            return event
        decision = self.decided(order_id)
        return begun(decision, decision.decided_ns) if decision is not None else None

    def event(self, order_id: str) -> OrderEvent | None:
        """The newest event of the order, where it is kept here."""
        known = self._known(order_id)
        order: OrderEvent | None = _decoded(known.event) if known is not None else None
        return order

    def decided(self, order_id: str) -> Decision | None:
        """The decision that began the order, where it is kept here."""
        known = self._known(order_id)
        message = known.decision if known is not None else self._decided.get(order_id)
        decision: Decision | None = _decoded(message) if message is not None else None
        return None if decision is None or concerns_no_order(decision) else decision

    def forget_decided(self, order_id: str) -> None:
        """PostgreSQL has the order: its decision came late on the tail, and says less."""
        self._decided.pop(order_id, None)

    def ledger_seq(self, account_id: str) -> int:
        """Ledger sequence of the account after the newest answer that is kept; 0 where none is."""
        known = self._accounts.get(account_id)
        if known is None or known.answer is None:
            return 0
        answer: Decision | CommandResult | None = _decoded(known.answer)
        return answer.account_seq if answer is not None else 0

    def command_result(self, account_id: str) -> CommandResult | None:
        """The newest answer to a command of the account, where it is kept."""
        known = self._accounts.get(account_id)
        if known is None or known.result is None:
            return None
        result: CommandResult | None = _decoded(known.result)
        return result

    def result_offset(self, account_id: str) -> int:
        """Offset of that answer in ``risk.decisions``; -1 where none is kept."""
        known = self._accounts.get(account_id)
        return known.result.offset if known is not None and known.result is not None else -1

    def event_offset(self, account_id: str) -> int:
        """Offset of the newest order event of the account, where one is kept; else -1."""
        known = self._accounts.get(account_id)
        return known.event.offset if known is not None and known.event is not None else -1

    def seen(self, partition: int, topic: str = RISK_DECISIONS.name) -> int:
        """The offset before which the tail has brought every record of the partition; 0 before it has begun."""
        return self._seen.get((topic, partition), 0)

    def decided_upto(self, partition: int) -> int:
        """The offset before which the tail has brought the decision on every intent of the partition; 0: not known."""
        newest = self._newest_decision.get(partition)
        decision: Decision | None = _decoded(newest) if newest is not None else None
        return decision.intent_offset + 1 if decision is not None else 0

    async def decides(self, partition: int, offset: int, within_s: float) -> bool:
        """Whether within so long the tail has brought the decision on every intent that is before the offset.

        Before it has brought any nobody knows how far the gate is, and there is nothing to wait for.
        """
        if offset and partition not in self._newest_decision:
            return False
        try:
            async with asyncio.timeout(within_s):
                while self.decided_upto(partition) < offset:
                    await self._came.wait()
        except TimeoutError:
            return False
        return True

    def covers(self, place: Place, next_offset: int, as_of_ns: int) -> bool:
        """Whether what is missing here is projected, where the projection has the place up to the offset or the time.

        Of a projection that has less nobody can say that an order, or an account, does not exist.
        """
        whole_from, since_ns = self._whole_from.get(place, (0, 0))
        return next_offset >= whole_from or as_of_ns >= since_ns

    def _known(self, order_id: str) -> _Order | None:
        return next((orders[order_id] for orders in self._orders.values() if order_id in orders), None)


def _decoded(message: Message) -> Any:
    """The record's body; None where its schema refuses it."""
    try:
        return message.body
    except ValueError as error:
        _log.error("tail_record_refused", topic=message.topic.name, offset=message.offset, error=str(error))
        return None
