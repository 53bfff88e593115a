"""The life of an order as data: one transition table, and pure functions that walk it.

A function takes the order as it stands and what happened, and returns the order after it, with what the venue is to be
told. Learnt from h11's ``_state.py``: the table is the rule, everything else only names the trigger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from common.contracts.events import (
    Decision,
    ExecType,
    ExecutionReport,
    OrderCancel,
    OrderEvent,
    OrderState,
    ReasonCode,
    VenueCancel,
    VenueOrder,
)

_S = OrderState


class Trigger(StrEnum):
    """What moves an order."""

    ACCEPT = "accept"
    DENY = "deny"
    ACKNOWLEDGE = "acknowledge"
    PART_FILL = "part fill"
    FILL = "fill"
    CANCEL_REQUEST = "cancel request"
    CANCEL = "cancel"
    REJECT = "reject"
    CANCEL_REFUSED = "cancel refused, unfilled"
    CANCEL_REFUSED_FILLED = "cancel refused, part or all filled"


_T = Trigger

TRANSITIONS: Final[Mapping[tuple[OrderState | None, Trigger], OrderState]] = MappingProxyType(
    {
        (None, _T.ACCEPT): _S.ACCEPTED,
        (None, _T.DENY): _S.DENIED,
        (_S.ACCEPTED, _T.ACKNOWLEDGE): _S.WORKING,
        (_S.ACCEPTED, _T.REJECT): _S.REJECTED,
        (_S.ACCEPTED, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.WORKING, _T.PART_FILL): _S.PARTIALLY_FILLED,
        (_S.WORKING, _T.FILL): _S.FILLED,
        (_S.WORKING, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.WORKING, _T.CANCEL): _S.CANCELED,
        (_S.PARTIALLY_FILLED, _T.PART_FILL): _S.PARTIALLY_FILLED,
        (_S.PARTIALLY_FILLED, _T.FILL): _S.FILLED,
        (_S.PARTIALLY_FILLED, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.PARTIALLY_FILLED, _T.CANCEL): _S.CANCELED,
        # A cancel request may overtake the venue's word on the order; whatever the venue had said before still counts.
        (_S.PENDING_CANCEL, _T.ACKNOWLEDGE): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.PART_FILL): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.FILL): _S.FILLED,
        (_S.PENDING_CANCEL, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.CANCEL): _S.CANCELED,
        (_S.PENDING_CANCEL, _T.REJECT): _S.REJECTED,
        (_S.PENDING_CANCEL, _T.CANCEL_REFUSED): _S.WORKING,
        (_S.PENDING_CANCEL, _T.CANCEL_REFUSED_FILLED): _S.PARTIALLY_FILLED,
        # A closed order stays what it is; who asks to cancel it is told so by an event with a text.
        (_S.DENIED, _T.CANCEL_REQUEST): _S.DENIED,
        (_S.FILLED, _T.CANCEL_REQUEST): _S.FILLED,
        (_S.FILLED, _T.CANCEL_REFUSED_FILLED): _S.FILLED,
        (_S.CANCELED, _T.CANCEL_REQUEST): _S.CANCELED,
        (_S.CANCELED, _T.CANCEL_REFUSED): _S.CANCELED,
        (_S.CANCELED, _T.CANCEL_REFUSED_FILLED): _S.CANCELED,
        (_S.REJECTED, _T.CANCEL_REQUEST): _S.REJECTED,
        (_S.REJECTED, _T.CANCEL_REFUSED): _S.REJECTED,
    }
)
"""State before (None: no such order yet) and trigger → state after. A pair that is not listed is illegal."""

CLOSED: Final = frozenset({_S.DENIED, _S.FILLED, _S.CANCELED, _S.REJECTED})
CANCEL_REJECTED_TEXT: Final = "cancel rejected"
"""How the text of an event begins that answers a cancel request with no."""


class IllegalTransitionError(ValueError):
    """The table has no such step."""


class ImpossibleReportError(ValueError):
    """The report contradicts the order: another account, symbol or side, or quantities that do not add up."""


@dataclass(frozen=True, slots=True)
class Step:
    """The order after a transition, and what the venue is to be told, if anything."""

    order: OrderEvent
    to_venue: VenueOrder | VenueCancel | None = None


def next_state(state: OrderState | None, trigger: Trigger) -> OrderState:
    """Raises IllegalTransitionError where the table has no such step."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalTransitionError(f"{trigger.name} in state {state.name if state else 'NONE'}") from None


def concerns_no_order(decision: Decision) -> bool:
    """A repeated answer, or a conflict over an id: the order that carries the id is untouched by it."""
    return decision.repeat or decision.reason is ReasonCode.DUPLICATE_ID


def on_decision(order: OrderEvent | None, decision: Decision, now_ns: int) -> Step:
    """The gate has spoken: the order begins, on its way to the venue or denied.

    Raises IllegalTransitionError where the order exists already, ValueError where an accepted one lacks what it needs.
    """
    next_state(order.state if order else None, _trigger_of_decision(decision))
    first = begun(decision, now_ns)
    return Step(first, _venue_order(first, decision) if decision.accepted else None)


def begun(decision: Decision, now_ns: int) -> OrderEvent:
    """The order as its decision begins it: ACCEPTED or DENIED, revision 1."""
    intent = decision.intent
    return OrderEvent(
        order_id=decision.order_id,
        account_id=decision.account_id,
        client_order_id=decision.client_order_id,
        symbol=intent.symbol,
        instrument_id=decision.instrument_id,
        side=intent.side,
        order_type=intent.order_type,
        time_in_force=intent.time_in_force,
        qty=intent.qty,
        limit_price_e4=intent.limit_price_e4,
        state=next_state(None, _trigger_of_decision(decision)),
        leaves_qty=intent.qty if decision.accepted else 0,
        reason=decision.reason,
        revision=1,
        sent_ns=intent.sent_ns,
        updated_ns=now_ns,
    )


def _trigger_of_decision(decision: Decision) -> Trigger:
    return Trigger.ACCEPT if decision.accepted else Trigger.DENY


def _venue_order(order: OrderEvent, decision: Decision) -> VenueOrder:
    if order.instrument_id is None or order.qty <= 0 or not decision.protection_price_e4:
        raise ValueError(f"accepted order {order.order_id} without an instrument, a quantity or a protection price")
    return VenueOrder(
        order_id=order.order_id,
        account_id=order.account_id,
        symbol=order.symbol,
        instrument_id=order.instrument_id,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        qty=order.qty,
        limit_price_e4=decision.protection_price_e4,
        sent_ns=order.sent_ns,
    )


def on_cancel(order: OrderEvent, cancel: OrderCancel, now_ns: int) -> Step:
    """A client wants the rest gone. One event answers each request; only the first of several reaches the venue.

    Raises ValueError where the order is not the account's.
    """
    if cancel.account_id != order.account_id:
        raise ValueError(f"order {order.order_id} is not an order of account {cancel.account_id}")
    state = next_state(order.state, Trigger.CANCEL_REQUEST)
    if state in CLOSED:
        return Step(_revised(order, now_ns, text=f"{CANCEL_REJECTED_TEXT}: the order is {state.name}"))
    if order.state is OrderState.PENDING_CANCEL:
        return Step(_revised(order, now_ns, text="cancel already requested"))
    assert order.instrument_id is not None, "an open order has an instrument"
    to_venue = VenueCancel(
        order_id=order.order_id,
        account_id=order.account_id,
        symbol=order.symbol,
        instrument_id=order.instrument_id,
        side=order.side,
        sent_ns=cancel.sent_ns,
    )
    return Step(_revised(order, now_ns, state=state, text="cancel requested"), to_venue)


def on_report(order: OrderEvent, report: ExecutionReport, now_ns: int) -> Step:
    """The venue has spoken. The caller has made sure that this ``execution_id`` was not applied before.

    Raises IllegalTransitionError, or ImpossibleReportError where the report contradicts the order.
    """
    _check_identity(order, report)
    state = next_state(order.state, trigger_of(order, report))
    _check_quantities(order, report)
    match report.exec_type:
        case ExecType.TRADE:
            changes = {
                "cum_qty": report.cum_qty,
                "leaves_qty": report.leaves_qty,
                "notional_e4": order.notional_e4 + report.last_qty * report.last_price_e4,
            }
        case ExecType.CANCELED | ExecType.REJECTED:
            changes = {"leaves_qty": 0}
        case ExecType.NEW | ExecType.CANCEL_REJECTED:
            changes = {}
    text = report.text
    if report.exec_type is ExecType.CANCEL_REJECTED:
        text = f"{CANCEL_REJECTED_TEXT}: {report.text}"
    return Step(_revised(order, now_ns, state=state, text=text, **changes))


def trigger_of(order: OrderEvent, report: ExecutionReport) -> Trigger:
    """Names the step that a report takes."""
    match report.exec_type:
        case ExecType.NEW:
            return Trigger.ACKNOWLEDGE
        case ExecType.TRADE:
            return Trigger.PART_FILL if report.leaves_qty else Trigger.FILL
        case ExecType.CANCELED:
            return Trigger.CANCEL
        case ExecType.REJECTED:
            return Trigger.REJECT
        case ExecType.CANCEL_REJECTED:
            return Trigger.CANCEL_REFUSED_FILLED if order.cum_qty else Trigger.CANCEL_REFUSED


def _check_identity(order: OrderEvent, report: ExecutionReport) -> None:
    named = (report.order_id, report.account_id, report.symbol, report.side)
    if named != (order.order_id, order.account_id, order.symbol, order.side):
        raise ImpossibleReportError(f"report {report.execution_id} names {named}, not order {order.order_id}")


def _check_quantities(order: OrderEvent, report: ExecutionReport) -> None:
    traded = report.exec_type is ExecType.TRADE
    if traded and (report.last_qty <= 0 or report.last_price_e4 <= 0):
        raise ImpossibleReportError(f"trade {report.execution_id} of {report.last_qty} at {report.last_price_e4}")
    cum_qty = order.cum_qty + (report.last_qty if traded else 0)
    ends = report.exec_type in (ExecType.CANCELED, ExecType.REJECTED)
    leaves_qty = 0 if ends else order.qty - cum_qty
    if report.exec_type is ExecType.CANCEL_REJECTED:
        return
    if cum_qty > order.qty or (report.cum_qty, report.leaves_qty) != (cum_qty, leaves_qty):
        raise ImpossibleReportError(
            f"report {report.execution_id} says cum {report.cum_qty} and leaves {report.leaves_qty}; "
            f"order of {order.qty} has cum {cum_qty} and leaves {leaves_qty} after it"
        )


def _revised(order: OrderEvent, now_ns: int, **changes: object) -> OrderEvent:
    return order.model_copy(update={"revision": order.revision + 1, "updated_ns": now_ns, **changes})


def diagram() -> str:
    """The table as a mermaid state diagram; the README shows it and a test compares."""
    lines = ["stateDiagram-v2"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, trigger), after in TRANSITIONS.items():
        arrows.setdefault((before.name if before else "[*]", after.name), []).append(trigger.value)
    lines += [f"    {before} --> {after}: {' / '.join(labels)}" for (before, after), labels in arrows.items()]
    lines += [f"    {state.name} --> [*]" for state in OrderState if state in CLOSED]
    return "\n".join(lines)
