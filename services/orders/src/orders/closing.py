"""Follows the orders that one request asked to cancel, from the lifecycle's report until each of them has an answer."""

from typing import Any

from common.contracts.cancels import CancelOutcome, CancelReport
from common.contracts.events import OrderEvent, OrderState

from orders.domain.lifecycle import CANCEL_REJECTED_TEXT, CLOSED


def is_settled(order: OrderEvent) -> bool:
    """Whether the event ends a cancel: the order is closed, or its cancel was refused."""
    return order.state in CLOSED or order.text.startswith(CANCEL_REJECTED_TEXT)


class Closing:
    """Events may come before the report that names their order: what the account closes is noted from the start."""

    def __init__(self) -> None:
        self.affected: dict[str, None] = {}
        self.affected_count = 0
        self.outcome: CancelOutcome | None = None
        """The outcome that the newest report says; None before the first."""
        self._settled: dict[str, OrderState] = {}

    @staticmethod
    def concerns(answer: Any) -> bool:
        """Whether a record of the account is one of those that ``event`` and ``report`` take."""
        return isinstance(answer, CancelReport) or (isinstance(answer, OrderEvent) and is_settled(answer))

    def event(self, order: OrderEvent) -> None:
        """An order has come to its end, or its cancel has."""
        self._settled[order.order_id] = order.state

    def report(self, report: CancelReport) -> None:
        """One of the request's own reports."""
        self.outcome = report.outcome
        self.affected.update(dict.fromkeys(report.affected))
        self.affected_count += report.affected_count

    @property
    def done(self) -> bool:
        """Whether no report and no event is still to come."""
        if self.outcome is CancelOutcome.TOO_MANY_PENDING:
            return True
        return self.outcome is CancelOutcome.DONE and self.affected.keys() <= self._settled.keys()

    def by_state(self) -> tuple[list[str], list[str], list[str]]:
        """Orders that are canceled, that were closed in another way or could not be canceled, that have no answer."""
        canceled: list[str] = []
        others: list[str] = []
        pending: list[str] = []
        for order_id in self.affected:
            state = self._settled.get(order_id)
            group = pending if state is None else canceled if state is OrderState.CANCELED else others
            group.append(order_id)
        return canceled, others, pending
