"""The desk: puts a client's request on the log and answers with what was committed about it.

A request that gets no answer in time is not lost: its message is in the log, or will be asked again under the same id.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from common.contracts.cancels import CancelOutcome, CancelReport, MassCancel, OrderCancel
from common.contracts.controls import ControlCommand, ControlResult
from common.contracts.events import (
    AccountStatus,
    CommandResult,
    Decision,
    Fund,
    OrderEvent,
    OrderIntent,
    OrderState,
    ResolveBreak,
    SetAccount,
    Withdraw,
)
from common.contracts.leases import LeaseKept, LeaseReleased
from common.contracts.topics import (
    ORDERS_CANCELS,
    ORDERS_INTENTS,
    ORDERS_LEASES,
    RISK_COMMANDS,
    RISK_CONTROL_COMMANDS,
    RISK_WHAT_IFS,
    Topic,
)
from common.contracts.values import RestingOrders, Side, order_id_of
from common.contracts.what_ifs import WhatIf, WhatIfAnswer
from prometheus_client import Counter, Gauge, Histogram
from streams.model.errors import LogError

from orders.closing import Closing, is_settled
from orders.entering import Entering
from orders.known_accounts import KnownAccounts
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


class Ends(Protocol):
    """The one thing the desk needs of the runtime's ``LogEnds``."""

    async def end(self, topic: Topic, key: bytes) -> int:
        """Offset after the last record that the key's partition has now. Raises LogError where that is not known."""
        ...


PENDING_WAIT_S: Final = 0.25
"""Wait of a cancel for the gate's decision on its order, before it is answered as pending."""
Place = tuple[int, int]
"""Partition and offset of the request's own record."""
Answers = Callable[[Any, Place, asyncio.Timeout], bool]
"""Whether a record answers the request; the deadline may be moved."""


IsAbsent = Callable[[str, int], Awaitable[bool]]
"""Whether no intent before that offset has this order id, for certain."""


class NoVerdict(Exception):
    """No committed answer in time; the message is in the log, or may be."""


class NotReady(Exception):
    """The request was not sent: the tail is not being read, or too many requests wait."""


class Desk:
    """Submits, commands and cancels. ``tailing`` tells whether the committed tail is being read."""

    def __init__(
        self, sender: Sends, verdicts: Verdicts, settings: OrdersSettings, tailing: Callable[[], bool], ends: Ends
    ) -> None:
        self._sender = sender
        self._verdicts = verdicts
        self._timeout_s = settings.verdict_timeout_ms / 1000
        self._tailing = tailing
        self._ends = ends
        self.accounts = KnownAccounts(settings.orders_recent_max)
        self._entering = Entering()
        self._beside_s = settings.cancel_beside_ms / 1000
        self._unknown = asyncio.Semaphore(settings.unknown_cancels_max)
        INFLIGHT.set_function(lambda: verdicts.inflight)

    async def submit(self, intent: OrderIntent) -> Decision:
        """The gate's decision on exactly this record of ``orders.intents``. Raises NoVerdict, NotReady."""
        order_id = order_id_of(intent.account_id, intent.client_order_id)

        def concerns(answer: Any) -> bool:
            return isinstance(answer, Decision) and answer.order_id == order_id

        def answers(decision: Decision, sent: Place, _deadline: asyncio.Timeout) -> bool:
            return (decision.intent_partition, decision.intent_offset) == sent

        with self._entering.order(intent.account_id, order_id) as entered:
            decision = await self._answered("submit", ORDERS_INTENTS, intent, concerns, answers, entered.set)
        assert isinstance(decision, Decision)
        self.accounts.answered(intent.account_id, decision)
        return decision

    async def command(self, command: SetAccount | Fund | Withdraw | ResolveBreak) -> CommandResult:
        """The answer to exactly this record of ``risk.commands``. Raises NoVerdict, NotReady.

        A suspension that cancels what rests is answered once the orders are closed, or when the time is up.
        """
        suspends = isinstance(command, SetAccount) and command.status is AccountStatus.SUSPENDED
        result: CommandResult | None = None
        closing = Closing()

        def concerns(answer: Any) -> bool:
            if isinstance(answer, CommandResult):
                return answer.command_id == command.command_id
            return suspends and closing.concerns(answer)

        def answers(answer: Any, sent: Place, _deadline: asyncio.Timeout) -> bool:
            nonlocal result
            if isinstance(answer, OrderEvent):
                closing.event(answer)
            elif isinstance(answer, CancelReport):
                if answer.command_id == command.command_id:
                    closing.report(answer)
            elif answer.command_offset < 0 or (answer.command_partition, answer.command_offset) == sent:
                result = answer
            if result is None:
                return False
            cancels = result.accepted and not result.repeat and result.resting is RestingOrders.CANCEL
            return closing.done or not cancels

        try:
            await self._answered("command", RISK_COMMANDS, command, concerns, answers)
        except NoVerdict:
            if result is None:
                raise
        assert result is not None
        self.accounts.answered(command.account_id, result)
        return result

    async def control(self, command: ControlCommand) -> ControlResult:
        """The answer to exactly this record of ``risk.control-commands``. It waits for no place among other requests.

        Raises NoVerdict, NotReady.
        """

        def concerns(answer: Any) -> bool:
            return isinstance(answer, ControlResult) and answer.command_id == command.command_id

        def answers(result: ControlResult, sent: Place, _deadline: asyncio.Timeout) -> bool:
            return (result.command_partition, result.command_offset) == sent

        result = await self._answered("control", RISK_CONTROL_COMMANDS, command, concerns, answers)
        assert isinstance(result, ControlResult)
        return result

    async def what_if(self, order: OrderIntent) -> WhatIfAnswer:
        """Asks for the gate's verdict on the order without sending it. Raises NoVerdict, NotReady."""
        question = WhatIf(account_id=order.account_id, question_id=uuid.uuid4().hex, order=order)

        def concerns(answer: Any) -> bool:
            return isinstance(answer, WhatIfAnswer) and answer.question_id == question.question_id

        def answers(_answer: WhatIfAnswer, _sent: Place, _deadline: asyncio.Timeout) -> bool:
            return True

        answer = await self._answered("what_if", RISK_WHAT_IFS, question, concerns, answers)
        assert isinstance(answer, WhatIfAnswer)
        return answer

    # --- cancels -----------------------------------------------------------------------------------------------------

    async def cancel(
        self, account_id: str, order_id: str, sent_ns: int, *, known: bool, is_absent: IsAbsent
    ) -> OrderEvent | CancelReport | None:
        """The order once it is closed, or once its cancel is refused; still PENDING_CANCEL where the venue takes long.
        A report where no such order was in the log when the request came in, or the gate has yet to decide on it.
        None where the read side is sure that none was: then nothing is put on the log.

        ``known``: an event of the order has been seen. Where none was, the order may be on its way: a request takes
        effect at some moment between its arrival and its answer, and it is the later one here. Raises NoVerdict where
        nothing at all was said, NotReady.
        """
        if known:
            return await self._cancel(OrderCancel(account_id=account_id, order_id=order_id, sent_ns=sent_ns))
        await self._entering.arrives(account_id, order_id, self._beside_s)
        async with self._turn():
            offset = await self._arrival(account_id, order_id)
            if await is_absent(order_id, offset):
                REQUESTS.labels("cancel", "unknown").inc()
                return None
            request = OrderCancel(account_id=account_id, order_id=order_id, sent_ns=sent_ns, intents_offset=offset)
            return await self._cancel(request)

    async def _cancel(self, cancel: OrderCancel) -> OrderEvent | CancelReport:
        said: OrderEvent | CancelReport | None = None
        give_up_s = asyncio.get_running_loop().time() + self._timeout_s

        def concerns(answer: Any) -> bool:
            return isinstance(answer, CancelReport) or (
                isinstance(answer, OrderEvent) and answer.order_id == cancel.order_id
            )

        def answers(answer: OrderEvent | CancelReport, sent: Place, deadline: asyncio.Timeout) -> bool:
            nonlocal said
            if isinstance(answer, OrderEvent):
                said = answer
                deadline.reschedule(give_up_s)
                return is_settled(answer)
            if (answer.cancel_partition, answer.cancel_offset) != sent:
                return False
            if answer.outcome is not CancelOutcome.PENDING:
                return True
            said = answer
            deadline.reschedule(min(give_up_s, asyncio.get_running_loop().time() + PENDING_WAIT_S))
            return False

        try:
            answer = await self._answered("cancel", ORDERS_CANCELS, cancel, concerns, answers)
        except NoVerdict:
            if said is None or (isinstance(said, OrderEvent) and said.state is not OrderState.PENDING_CANCEL):
                raise
            return said
        assert isinstance(answer, OrderEvent | CancelReport)
        return answer

    async def mass_cancel(self, account_id: str, symbol: str | None, side: Side | None, sent_ns: int) -> Closing:
        """Fate of the account's open orders, as far as it is known when the time is up.

        Raises NoVerdict where the lifecycle did not even say which orders it concerns, NotReady.
        """
        offset = await self._arrival(account_id)
        request = MassCancel(account_id=account_id, symbol=symbol, side=side, sent_ns=sent_ns, intents_offset=offset)
        closing = Closing()

        def answers(answer: OrderEvent | CancelReport, sent: Place, _deadline: asyncio.Timeout) -> bool:
            if isinstance(answer, OrderEvent):
                closing.event(answer)
            elif (answer.cancel_partition, answer.cancel_offset) == sent:
                closing.report(answer)
            return closing.done

        try:
            await self._answered("mass_cancel", ORDERS_CANCELS, request, closing.concerns, answers)
        except NoVerdict:
            if closing.outcome is None:
                raise
        return closing

    async def lease(self, request: LeaseKept | LeaseReleased) -> CancelReport:
        """The lifecycle's word on exactly this record of ``orders.leases``. Raises NoVerdict, NotReady."""

        def concerns(answer: Any) -> bool:
            return isinstance(answer, CancelReport) and answer.lease_offset is not None

        def answers(report: CancelReport, sent: Place, _deadline: asyncio.Timeout) -> bool:
            return (report.cancel_partition, report.lease_offset) == sent

        report = await self._answered("lease", ORDERS_LEASES, request, concerns, answers)
        assert isinstance(report, CancelReport)
        return report

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A place for a cancel of an order that nobody here has seen: they are not to take the places of orders."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._unknown.acquire()
        except TimeoutError:
            REQUESTS.labels("cancel", "refused").inc()
            raise NotReady("too many cancels of unknown orders wait for their answer") from None
        try:
            yield
        finally:
            self._unknown.release()

    async def _arrival(self, account_id: str, order_id: str | None = None) -> int:
        """The place in the log at which a cancel came in: after the orders that this process was sending before it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._entering.entered(account_id, order_id)
                return await self._ends.end(ORDERS_INTENTS, account_id.encode())
        except (TimeoutError, LogError) as error:
            REQUESTS.labels("cancel", "not_ready").inc()
            raise NotReady(f"the end of the log is not known: {error}") from error

    async def _answered(
        self,
        kind: str,
        topic: Topic,
        body: Any,
        concerns: Callable[[Any], bool],
        answers: Answers,
        entered: Callable[[], None] = lambda: None,
    ) -> Any:
        """Puts the message on the log, says when it has ``entered`` it, and waits for its answer."""
        account_id: str = body.account_id
        if not self._tailing():
            REQUESTS.labels(kind, "not_ready").inc()
            raise NotReady("the committed log is not being read yet")
        try:
            is_urgent = topic is RISK_CONTROL_COMMANDS
            with self._verdicts.waiting(account_id, concerns, is_urgent) as waiter, VERDICT_SECONDS.labels(kind).time():
                async with asyncio.timeout(self._timeout_s) as deadline:
                    sent = await self._sender.send(topic, account_id.encode(), body)
                    entered()
                    while not answers(answer := await waiter.next(), sent, deadline):
                        pass
        except TooManyWaiting:
            REQUESTS.labels(kind, "refused").inc()
            raise NotReady("too many requests wait for their answer") from None
        except (TimeoutError, LogError) as error:
            REQUESTS.labels(kind, "no_verdict").inc()
            raise NoVerdict(str(error)) from error
        REQUESTS.labels(kind, "answered").inc()
        return answer
