"""Execution reports that the books refuse, and what became of them: the records of ``risk.breaks``. Key: account_id.

A break is opened by the gate and closed by the command ``ResolveBreak``. Its report is not lost and not a dead letter:
a venue has spoken, a trade may have happened in the world, and a person has to say what the books make of it.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from common.contracts.events import BreakAction, Event, ExecutionReport
from common.contracts.personal import Personal
from common.contracts.values import AccountId, BreakId, CashE4, ClientOrderId, OrderId, Quantity, TimestampNs


class BreakReason(StrEnum):
    """Why an execution report was refused; closed. The numbers compared stand in ``ExecutionBreak.compared``."""

    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    """No order of this id was accepted before the report; none will be."""
    ORDER_DENIED = "ORDER_DENIED"
    ORDER_MISMATCH = "ORDER_MISMATCH"
    """The order is another account's, or of another symbol or side."""
    EXECUTION_ID_REUSED = "EXECUTION_ID_REUSED"
    """The id was used before, with another body."""
    FILL_AFTER_END = "FILL_AFTER_END"
    REPORT_AFTER_END = "REPORT_AFTER_END"
    REJECT_AFTER_ACKNOWLEDGE = "REJECT_AFTER_ACKNOWLEDGE"
    AMOUNT_NOT_POSITIVE = "AMOUNT_NOT_POSITIVE"
    OVERFILL = "OVERFILL"
    PRICE_BEYOND_LIMIT = "PRICE_BEYOND_LIMIT"
    QUANTITIES_DISAGREE = "QUANTITIES_DISAGREE"
    BUST_UNKNOWN = "BUST_UNKNOWN"
    """A bust or a correction of a trade that was not accepted, or was taken back before."""
    AMOUNT_OVERFLOW = "AMOUNT_OVERFLOW"
    """The order's notional, or what the account would hold, does not fit 64 bits."""
    CASH_SHORT = "CASH_SHORT"
    """The cash that a bust, a correction or a trade takes is not available."""
    POSITION_SHORT = "POSITION_SHORT"


class ReportedEffect(Event):
    """Effect of a report by its own word, as far as the books go: what accepting or booking it moves.

    A fill of ``fill_qty`` at ``fill_price_e4``; a fill of ``back_qty`` at ``back_price_e4`` that is taken back; the end
    of the order with all that is still open. A correction is a fill taken back and a fill.
    """

    fill_qty: Quantity = 0
    fill_price_e4: CashE4 = 0
    back_qty: Quantity = 0
    back_price_e4: CashE4 = 0
    ends: bool = False


class ExecutionBreak(Event):
    """A report that was refused."""

    type: Literal["break"] = "break"
    break_id: BreakId
    account_id: AccountId
    order_id: OrderId
    reason: BreakReason
    compared: dict[str, int] = Field(default_factory=dict, description="the numbers behind it, units in names")
    parked: bool = Field(
        default=False,
        description="the report is right and the order has moved; only its money could not be booked and waits",
    )
    effect: ReportedEffect = Field(description="what is moved when it is booked")
    report: ExecutionReport
    opened_ns: TimestampNs


class BreakResolution(Event):
    """A break that was resolved, with all of it, so that a reader needs no earlier record."""

    type: Literal["resolution"] = "resolution"
    break_id: BreakId
    account_id: AccountId
    command_id: ClientOrderId
    action: BreakAction
    note: Annotated[str, Personal.TEXT]
    resolved: ExecutionBreak
    resolved_ns: TimestampNs


RiskBreak = Annotated[ExecutionBreak | BreakResolution, Field(discriminator="type")]
