"""The desk: puts a client's request on the log and answers with what was committed about it.

A request that gets no answer in time is not lost: its message is in the log, or will be asked again under the same id.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from common.contracts.events import (
    CommandResult,
    Decision,
    Fund,
    OrderCancel,
    OrderEvent,
    OrderIntent,
    OrderState,
    ResolveBreak,
    SetAccount,
    Withdraw,
)
from common.contracts.topics import ORDERS_CANCELS, ORDERS_INTENTS, RISK_COMMANDS, Topic
from common.contracts.values import order_id_of
from common.runtime.errors import LogError
from prometheus_client import Counter, Gauge, Histogram

from orders.domain.lifecycle import CANCEL_REJECTED_TEXT, CLOSED
from orders.settings import OrdersSettings
from orders.verdicts import TooManyWaiting, Verdicts

REQUESTS = Counter("tidemark_orders_requests_total", "Requests put on the log, by how they ended", ["kind", "outcome"])
VERDICT_SECONDS = Histogram(
    "tidemark_orders_verdict_seconds",
    "From request to committed answer",
    ["kind"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
INFLIGHT = Gauge("tidemark_orders_inflight_requests", "Requests that wait for their committed answer")


class Sends(Protocol):
    """The one thing the desk needs of the runtime's ``Sender``."""

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        """Returns (partition, offset). Raises LogError where the record may or may not be in the log."""
        ...


class NoVerdict(Exception):
    """No committed answer in time; the message is in the log, or may be."""


class NotReady(Exception):
    """The request was not sent: the tail is not being read, or too many requests wait."""


class Desk:
    """Submits, commands and cancels. ``tailing`` tells whether the committed tail is being read."""

    def __init__(
        self, sender: Sends, verdicts: Verdicts, settings: OrdersSettings, tailing: Callable[[], bool]
    ) -> None:
        self._sender = sender
        self._verdicts = verdicts
        self._timeout_s = settings.verdict_timeout_ms / 1000
        self._tailing = tailing
        INFLIGHT.set_function(lambda: verdicts.inflight)

    async def submit(self, intent: OrderIntent) -> Decision:
        """The gate's decision on exactly this record of ``orders.intents``. Raises NoVerdict, NotReady."""
        order_id = order_id_of(intent.account_id, intent.client_order_id)

        def concerns(answer: Any) -> bool:
            return isinstance(answer, Decision) and answer.order_id == order_id

        def answers(decision: Decision, sent: tuple[int, int]) -> bool:
            return (decision.intent_partition, decision.intent_offset) == sent

        decision = await self._answered("submit", ORDERS_INTENTS, intent.account_id, intent, concerns, answers)
        assert isinstance(decision, Decision)
        return decision

    async def command(self, command: SetAccount | Fund | Withdraw | ResolveBreak) -> CommandResult:
        """The answer to exactly this record of ``risk.commands``. Raises NoVerdict, NotReady."""

        def concerns(answer: Any) -> bool:
            return isinstance(answer, CommandResult) and answer.command_id == command.command_id

        def answers(result: CommandResult, sent: tuple[int, int]) -> bool:
            return result.command_offset < 0 or (result.command_partition, result.command_offset) == sent

        result = await self._answered("command", RISK_COMMANDS, command.account_id, command, concerns, answers)
        assert isinstance(result, CommandResult)
        return result

    async def cancel(self, cancel: OrderCancel) -> OrderEvent:
        """The order once it is closed, or once its cancel is refused; still PENDING_CANCEL where the venue takes long.

        Raises NoVerdict where nothing at all was said about the order, NotReady.
        """
        newest: OrderEvent | None = None

        def concerns(answer: Any) -> bool:
            return isinstance(answer, OrderEvent) and answer.order_id == cancel.order_id

        def answers(order: OrderEvent, _sent: tuple[int, int]) -> bool:
            nonlocal newest
            newest = order
            return order.state in CLOSED or order.text.startswith(CANCEL_REJECTED_TEXT)

        try:
            order = await self._answered("cancel", ORDERS_CANCELS, cancel.account_id, cancel, concerns, answers)
        except NoVerdict:
            if newest is None or newest.state is not OrderState.PENDING_CANCEL:
                raise
            return newest
        assert isinstance(order, OrderEvent)
        return order

    async def _answered(
        self,
        kind: str,
        topic: Topic,
        account_id: str,
        body: Any,
        concerns: Callable[[Any], bool],
        answers: Callable[[Any, tuple[int, int]], bool],
    ) -> Any:
        if not self._tailing():
            REQUESTS.labels(kind, "not_ready").inc()
            raise NotReady("the committed log is not being read yet")
        try:
            with self._verdicts.waiting(account_id, concerns) as waiter, VERDICT_SECONDS.labels(kind).time():
                async with asyncio.timeout(self._timeout_s):
                    sent = await self._sender.send(topic, account_id.encode(), body)
                    while not answers(answer := await waiter.next(), sent):
                        pass
        except TooManyWaiting:
            REQUESTS.labels(kind, "refused").inc()
            raise NotReady("too many requests wait for their answer") from None
        except (TimeoutError, LogError) as error:
            REQUESTS.labels(kind, "no_verdict").inc()
            raise NoVerdict(str(error)) from error
        REQUESTS.labels(kind, "answered").inc()
        return answer
