"""The life of an order as data: one transition table, and pure functions that walk it.

A function takes the order as it stands and what happened, and returns the order after it, with what the venue is to be
told. Learnt from h11's ``_state.py``: the table is the rule, everything else only names the trigger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from common.contracts.breaks import BreakResolution
from common.contracts.events import CLOSED as CLOSED
from common.contracts.events import (
    BreakAction,
    Decision,
    ExecType,
    ExecutionReport,
    OrderEvent,
    OrderState,
    ReasonCode,
    VenueCancel,
    VenueOrder,
)
from common.contracts.twins import alike, replaced, twin_of
from common.contracts.values import SELF_MATCH_DENIED, SELF_MATCH_MODE, SELF_MATCH_MODES, SelfMatch, within_int64
from common.reported import NO_EFFECT, OF_NO_ORDER, Effect, effect_of, leaves_qty

_S = OrderState
ORDER_TWIN: Final = twin_of(OrderEvent)
VENUE_ORDER_TWIN: Final = twin_of(VenueOrder)


class Trigger(StrEnum):
    """Cause that moves an order."""

    ACCEPT = "accept"
    DENY = "deny"
    ACKNOWLEDGE = "acknowledge"
    PART_FILL = "part fill"
    FILL = "fill"
    CANCEL_REQUEST = "cancel request"
    CANCEL = "cancel"
    REJECT = "reject"
    EXPIRE = "expire"
    BUST = "bust, part filled after it"
    BUST_UNFILLED = "bust, unfilled after it"
    CANCEL_REFUSED = "cancel refused, unfilled"
    CANCEL_REFUSED_FILLED = "cancel refused, part or all filled"


_T = Trigger

_REPORTED: Final = (
    _T.ACKNOWLEDGE,
    _T.PART_FILL,
    _T.FILL,
    _T.CANCEL,
    _T.REJECT,
    _T.EXPIRE,
    _T.BUST,
    _T.BUST_UNFILLED,
    _T.CANCEL_REFUSED,
    _T.CANCEL_REFUSED_FILLED,
)
_ENDS: Final = {_T.FILL: _S.FILLED, _T.CANCEL: _S.CANCELED, _T.REJECT: _S.REJECTED, _T.EXPIRE: _S.EXPIRED}

TRANSITIONS: Final[Mapping[tuple[OrderState | None, Trigger], OrderState]] = MappingProxyType(
    {
        (None, _T.ACCEPT): _S.ACCEPTED,
        (None, _T.DENY): _S.DENIED,
        # Whether a report can be true the judge has said (``common.executions``); here it only takes its step, whatever
        # clients have asked for meanwhile.
        **{(state, trigger): after for state in _S if state not in CLOSED for trigger, after in _ENDS.items()},
        (_S.ACCEPTED, _T.ACKNOWLEDGE): _S.WORKING,
        (_S.ACCEPTED, _T.PART_FILL): _S.PARTIALLY_FILLED,
        (_S.ACCEPTED, _T.BUST): _S.PARTIALLY_FILLED,
        (_S.ACCEPTED, _T.BUST_UNFILLED): _S.WORKING,
        (_S.ACCEPTED, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.ACCEPTED, _T.CANCEL_REFUSED): _S.ACCEPTED,
        (_S.ACCEPTED, _T.CANCEL_REFUSED_FILLED): _S.PARTIALLY_FILLED,
        (_S.WORKING, _T.ACKNOWLEDGE): _S.WORKING,
        (_S.WORKING, _T.PART_FILL): _S.PARTIALLY_FILLED,
        (_S.WORKING, _T.BUST): _S.PARTIALLY_FILLED,
        (_S.WORKING, _T.BUST_UNFILLED): _S.WORKING,
        (_S.WORKING, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.WORKING, _T.CANCEL_REFUSED): _S.WORKING,
        (_S.WORKING, _T.CANCEL_REFUSED_FILLED): _S.PARTIALLY_FILLED,
        (_S.PARTIALLY_FILLED, _T.ACKNOWLEDGE): _S.PARTIALLY_FILLED,
        (_S.PARTIALLY_FILLED, _T.PART_FILL): _S.PARTIALLY_FILLED,
        (_S.PARTIALLY_FILLED, _T.BUST): _S.PARTIALLY_FILLED,
        (_S.PARTIALLY_FILLED, _T.BUST_UNFILLED): _S.WORKING,
        (_S.PARTIALLY_FILLED, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.PARTIALLY_FILLED, _T.CANCEL_REFUSED): _S.WORKING,
        (_S.PARTIALLY_FILLED, _T.CANCEL_REFUSED_FILLED): _S.PARTIALLY_FILLED,
        # A cancel request may overtake the venue's word on the order; whatever the venue had said before still counts.
        (_S.PENDING_CANCEL, _T.ACKNOWLEDGE): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.PART_FILL): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.BUST): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.BUST_UNFILLED): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.CANCEL_REQUEST): _S.PENDING_CANCEL,
        (_S.PENDING_CANCEL, _T.CANCEL_REFUSED): _S.WORKING,
        (_S.PENDING_CANCEL, _T.CANCEL_REFUSED_FILLED): _S.PARTIALLY_FILLED,
        # A closed order stays what it is: a bust, or a fill that an operator books, changes its quantities only. Who
        # asks to cancel it is told so by an event with a text.
        **{(state, trigger): state for state in _S if state in CLOSED for trigger in (_T.CANCEL_REQUEST, *_REPORTED)},
    }
)
"""State before (None: no such order yet) and trigger → state after. A pair that is not listed is illegal."""

CANCEL_REJECTED_TEXT: Final = "cancel rejected"
"""How the text of an event begins that answers a cancel request with no."""


class IllegalTransitionError(ValueError):
    """The table has no such step."""


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
    """The order as its decision begins it: ACCEPTED or DENIED, revision 1. A twin where the decision is one."""
    intent = decision.intent
    make = alike(decision, OrderEvent, ORDER_TWIN)
    return make(
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
        cum_qty=0,
        leaves_qty=intent.qty if decision.accepted else 0,
        notional_e4=0,
        reason=decision.reason,
        text="",
        revision=1,
        sent_ns=intent.sent_ns,
        updated_ns=now_ns,
        decided_ns=decision.decided_ns,
        intent_offset=decision.intent_offset,
        min_qty=intent.min_qty,
        expire_ns=intent.expire_ns,
    )


def _trigger_of_decision(decision: Decision) -> Trigger:
    return Trigger.ACCEPT if decision.accepted else Trigger.DENY


def _venue_order(order: OrderEvent, decision: Decision) -> VenueOrder:
    if order.instrument_id is None or order.qty <= 0 or not decision.protection_price_e4:
        raise ValueError(f"accepted order {order.order_id} without an instrument, a quantity or a protection price")
    make = alike(decision, VenueOrder, VENUE_ORDER_TWIN)
    return make(
        type="new",
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
        self_match=self_match_of(decision),
        min_qty=order.min_qty,
        expire_ns=order.expire_ns,
    )


def self_match_of(decision: Decision) -> SelfMatch | None:
    """Rule for own orders that meet, where the gate leaves it to the venue.

    Raises ValueError for a mode that this release does not know.
    """
    mode = decision.compared.get(SELF_MATCH_MODE, SELF_MATCH_DENIED)
    if mode not in SELF_MATCH_MODES:
        raise ValueError(
            f"order {decision.order_id} was accepted under a self-match mode {mode} that is not known here"
        )
    return SELF_MATCH_MODES[mode]


def on_cancel(order: OrderEvent, sent_ns: int, now_ns: int, text: str = "cancel requested") -> Step:
    """Somebody wants the rest gone, and the order is that account's. One event answers each request; only the first of
    several reaches the venue. ``sent_ns`` is the request's, for the latency that is measured."""
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
        sent_ns=sent_ns,
    )
    return Step(_revised(order, now_ns, state=state, text=text), to_venue)


def on_report(order: OrderEvent, report: ExecutionReport, effect: Effect, now_ns: int, refused_qty: int = 0) -> Step:
    """The venue has spoken, and the judge has accepted it; ``effect`` is what it says has happened.

    ``refused_qty``: see ``common.reported.leaves_qty``.
    """
    text = report.text
    if report.exec_type is ExecType.CANCEL_REJECTED:
        text = f"{CANCEL_REJECTED_TEXT}: {report.text}"
    return Step(_moved(order, report.exec_type, effect, text, now_ns, refused_qty))


def refused_by(resolution: BreakResolution) -> int:
    """Shares of an accepted fill that the operator refuses to the venue with it."""
    opened = resolution.resolved
    if resolution.action is BreakAction.BOOK or not opened.parked or opened.reason in OF_NO_ORDER:
        return 0
    return max(0, opened.effect.fill_qty - opened.effect.back_qty)


def on_resolution(order: OrderEvent, resolution: BreakResolution, now_ns: int, refused_qty: int = 0) -> Step | None:
    """An operator has resolved a break. None where that changes nothing of the order.

    A report that was refused is counted when it is booked. One that was accepted, and parked only for its money, is
    counted already; it is counted back when the venue is refused. ``refused_qty``, this resolution's in it: see
    ``common.reported.leaves_qty``.
    """
    opened = resolution.resolved
    books = resolution.action is BreakAction.BOOK
    if opened.reason in OF_NO_ORDER or books is opened.parked:
        return None
    effect, report = effect_of(opened.effect), opened.report
    if effect == NO_EFFECT:
        return None
    what = f"{report.exec_type.value} {report.execution_id}"
    if books:
        text = f"booked by hand: {what}: {resolution.note}"
        return Step(_moved(order, report.exec_type, effect, text, now_ns, refused_qty))
    cum_qty = order.cum_qty - effect.fill_qty + effect.back_qty
    notional_e4 = _bounded(order.notional_e4 - _notional_e4(effect))
    open_qty = 0 if order.state in CLOSED else leaves_qty(order.qty, cum_qty, refused_qty)
    text = f"refused to the venue: {what}: {resolution.note}"
    return Step(_revised(order, now_ns, cum_qty=cum_qty, leaves_qty=open_qty, notional_e4=notional_e4, text=text))


def _moved(
    order: OrderEvent, exec_type: ExecType, effect: Effect, text: str, now_ns: int, refused_qty: int
) -> OrderEvent:
    """The order with the quantities and in the state that follow from what has happened.

    An order ends by the word of its venue, or of an operator who books such a word. One whose shares an operator has
    booked, all of them, stays open until then: the venue may still trade it, and it can be canceled.
    """
    cum_qty = order.cum_qty + effect.fill_qty - effect.back_qty
    ended = order.state in CLOSED or effect.ends
    state = next_state(order.state, _trigger(exec_type, cum_qty, ends=effect.ends))
    return _revised(
        order,
        now_ns,
        state=state,
        text=text,
        cum_qty=cum_qty,
        leaves_qty=0 if ended else leaves_qty(order.qty, cum_qty, refused_qty),
        notional_e4=_bounded(order.notional_e4 + _notional_e4(effect)),
    )


def _notional_e4(effect: Effect) -> int:
    return effect.fill_qty * effect.fill_price_e4 - effect.back_qty * effect.back_price_e4


def _bounded(notional_e4: int) -> int:
    """Bounds a sum: operators' bookings are bounded fill by fill, not by order; nobody could read a wider event."""
    return within_int64(notional_e4)


def _trigger(exec_type: ExecType, cum_qty: int, *, ends: bool) -> Trigger:
    """Names the step that a report takes; ``cum_qty`` is that after it."""
    match exec_type:
        case ExecType.NEW:
            return Trigger.ACKNOWLEDGE
        case ExecType.TRADE | ExecType.TRADE_CORRECT:
            return Trigger.FILL if ends else Trigger.PART_FILL
        case ExecType.CANCELED:
            return Trigger.CANCEL
        case ExecType.EXPIRED:
            return Trigger.EXPIRE
        case ExecType.REJECTED:
            return Trigger.REJECT
        case ExecType.TRADE_CANCEL:
            return Trigger.BUST if cum_qty > 0 else Trigger.BUST_UNFILLED
        case ExecType.CANCEL_REJECTED:
            return Trigger.CANCEL_REFUSED_FILLED if cum_qty else Trigger.CANCEL_REFUSED


def _revised(order: OrderEvent, now_ns: int, **changes: object) -> OrderEvent:
    return replaced(order, revision=order.revision + 1, updated_ns=now_ns, **changes)


def diagram() -> str:
    """The table as a mermaid state diagram; the README shows it and a test compares."""
    lines = ["stateDiagram-v2"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, trigger), after in TRANSITIONS.items():
        arrows.setdefault((before.name if before else "[*]", after.name), []).append(trigger.value)
    lines += [f"    {before} --> {after}: {' / '.join(labels)}" for (before, after), labels in arrows.items()]
    lines += [f"    {state.name} --> [*]" for state in OrderState if state in CLOSED]
    return "\n".join(lines)
