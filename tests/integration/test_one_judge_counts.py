"""Bookings of an operator beside the venue: said once, counted on, and the same books in every order of arrival."""

from typing import Any

import pytest
from common.contracts.breaks import BreakReason
from common.contracts.events import BreakAction, ExecType, ExecutionReport, OrderEvent, OrderIntent, OrderState
from common.contracts.topics import ORDERS_EXECUTIONS, RISK_BREAKS, RISK_COMMANDS
from common.contracts.values import Side
from common.testing.orders import ACCOUNT, fund, report, withdraw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders import stages as lifecycle

from tests.integration.judged_world import BUY, QTY, SELL, World, funded, resolve, trade

RESOLUTIONS = st.sampled_from([BreakAction.BOOK, BreakAction.BREAK, None])
ORDERS = st.sampled_from([BUY, SELL])


def order_of(world: World) -> OrderEvent:
    order: OrderEvent | None = world.lifecycle.changelogged("orders").get(f"{ACCOUNT}.o".encode())
    assert order is not None
    return order


def reasons(world: World) -> list[BreakReason]:
    """Reasons of all breaks that there ever were."""
    return [one.reason for one in world.written[RISK_BREAKS.name] if one.type == "break"]


def beyond(of: OrderIntent) -> int:
    return 101 if of.side is Side.BUY else 99


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    of=ORDERS,
    parts=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=6),
    ends=st.booleans(),
    data=st.data(),
)
def test_venue_that_counts_on_what_was_refused_then_one_break_for_each_refused_fill(
    of: OrderIntent, parts: list[tuple[int, bool]], ends: bool, data: st.DataObject
) -> None:
    """Whatever an operator makes of them and when. Refused are fills beyond the limit; the venue counts them all."""
    world, cum_qty, refused, is_beyond = funded(of), 0, 0, False
    for number, (part, is_refused) in enumerate(parts):
        qty = min(part, QTY - cum_qty)
        if not qty:
            break
        is_beyond = is_refused
        cum_qty, refused = cum_qty + qty, refused + is_beyond
        price = beyond(of) if is_beyond else 100
        world.tell_gate(ORDERS_EXECUTIONS, trade(of, f"t{number}", qty, price, cum_qty, QTY - cum_qty))
        if (action := data.draw(RESOLUTIONS)) is not None:
            resolve(world, action, number)
        if data.draw(st.booleans()):
            world.arrive_all()
        world.check_money()
    if ends and cum_qty < QTY:
        world.tell_gate(ORDERS_EXECUTIONS, report(of, ExecType.CANCELED, "c", cum_qty=cum_qty))
    world.arrive_all()
    world.check_money()
    world.check_agreement(of)
    assert reasons(world) == [BreakReason.PRICE_BEYOND_LIMIT] * refused
    if ends and not (cum_qty == QTY and is_beyond):
        assert order_of(world).leaves_qty == 0
        assert world.ledger.reserved_cash_e4 == 0


@pytest.mark.parametrize("action", BreakAction)
def test_report_that_never_came_then_said_once_and_the_rest_counts(action: BreakAction) -> None:
    world = funded(BUY)
    lost_before = [trade(BUY, "t2", 2, 100, 5, 5), trade(BUY, "t3", 1, 100, 6, 4), trade(BUY, "t4", 4, 100, 10, 0)]
    for number, said in enumerate(lost_before):
        world.tell_gate(ORDERS_EXECUTIONS, said)
        if not number:
            resolve(world, action, number)
    world.arrive_all()
    world.check_money()
    world.check_agreement(BUY)
    assert reasons(world) == [BreakReason.QUANTITIES_DISAGREE]
    assert order_of(world).state is OrderState.FILLED
    assert order_of(world).cum_qty == (7 if action is BreakAction.BOOK else 5)
    assert world.ledger.reserved_cash_e4 == 0


def test_session_that_repeats_its_fills_under_new_ids_then_none_is_booked_twice() -> None:
    world = funded(BUY)
    fills = [(2, 2, 8), (2, 4, 6), (3, 7, 3)]
    for name in ("first", "again"):
        world.tell_gate(ORDERS_EXECUTIONS, report(BUY, ExecType.NEW, f"{name} n", leaves_qty=QTY))
        for number, (qty, cum_qty, leaves_qty) in enumerate(fills):
            world.tell_gate(ORDERS_EXECUTIONS, trade(BUY, f"{name} {number}", qty, 100, cum_qty, leaves_qty))
    world.arrive_all()
    world.check_agreement(BUY)
    assert order_of(world).cum_qty == 7
    assert reasons(world) == [BreakReason.QUANTITIES_DISAGREE] * 4


def test_venue_that_counts_beyond_the_order_then_refused() -> None:
    world = funded(BUY)
    world.tell_gate(ORDERS_EXECUTIONS, trade(BUY, "t1", 8, beyond(BUY), 8, 2))
    world.tell_gate(ORDERS_EXECUTIONS, trade(BUY, "t2", 4, 100, 12, 0))
    assert reasons(world) == [BreakReason.PRICE_BEYOND_LIMIT, BreakReason.QUANTITIES_DISAGREE]


def test_shares_all_booked_by_hand_then_open_until_the_venue_ends_it() -> None:
    world = funded(BUY)
    world.tell_gate(ORDERS_EXECUTIONS, trade(BUY, "t1", QTY, beyond(BUY), 9, 1))
    resolve(world, BreakAction.BOOK, 1)
    world.arrive_all()
    assert (order_of(world).state, order_of(world).cum_qty, order_of(world).leaves_qty) == (
        OrderState.PARTIALLY_FILLED,
        QTY,
        0,
    )
    world.tell_gate(ORDERS_EXECUTIONS, report(BUY, ExecType.CANCELED, "c", cum_qty=9))
    world.arrive_all()
    world.check_agreement(BUY)
    assert order_of(world).state is OrderState.CANCELED
    assert len(reasons(world)) == 1


# --- a fill, its bust and their money -----------------------------------------------------------------------------


CROSSINGS = ("fill", "overfill", "bust", "correct", "bust of correct", "bust of overfill", "spend", "earn", "end")
CROSSING = st.lists(
    st.one_of(
        st.sampled_from(CROSSINGS),
        st.sampled_from([BreakAction.BOOK, BreakAction.BREAK]),
        st.integers(0, len(lifecycle.INPUTS) - 1),
    ),
    min_size=2,
    max_size=12,
)


def said(of: OrderIntent, word: str) -> ExecutionReport:
    """The words of a venue that trades 6, then more than there is, and takes back one or the other."""
    match word:
        case "fill":
            return trade(of, "t", 6, 100, 6, 4)
        case "overfill":
            return trade(of, "o", 7, 100, 13, 0)
        case "bust":
            return report(of, ExecType.TRADE_CANCEL, "b", ref_execution_id="t", cum_qty=0, leaves_qty=QTY)
        case "correct":
            fields: dict[str, Any] = {"exec_type": ExecType.TRADE_CORRECT, "ref_execution_id": "t"}
            return trade(of, "k", 8, 100, 8, 2, **fields)
        case "bust of correct":
            return report(of, ExecType.TRADE_CANCEL, "bk", ref_execution_id="k", cum_qty=0, leaves_qty=QTY)
        case "bust of overfill":
            return report(of, ExecType.TRADE_CANCEL, "bo", ref_execution_id="o", cum_qty=6, leaves_qty=4)
    return report(of, ExecType.CANCELED, "c")


def go_on(world: World, of: OrderIntent, step: str | BreakAction | int, number: int) -> None:
    if isinstance(step, int):
        names = list(world.written)
        if names[step] in world.unread():
            world.arrive(names[step])
    elif isinstance(step, BreakAction):
        resolve(world, step, number)
    elif step == "spend":
        if rest_e4 := world.ledger.available("@CASH"):
            world.tell_gate(RISK_COMMANDS, withdraw(command_id=f"w{number}", cash_e4=rest_e4))
    elif step == "earn":
        world.tell_gate(RISK_COMMANDS, fund(command_id=f"e{number}", cash_e4=10_000_000))
    else:
        world.tell_gate(ORDERS_EXECUTIONS, said(of, step))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of=ORDERS, steps=CROSSING, tail=st.permutations(range(len(lifecycle.INPUTS))))
def test_bookings_and_busts_cross_in_any_order_then_both_have_the_same_books(
    of: OrderIntent, steps: list[str | BreakAction | int], tail: list[int]
) -> None:
    world = funded(of)
    for number, step in enumerate(steps):
        go_on(world, of, step, number)
        world.check_money()
    names = list(world.written)
    for place in tail:
        while names[place] in world.unread():
            world.arrive(names[place])
    world.check_agreement(of)


@pytest.mark.parametrize("books_first", [True, False])
def test_fill_that_could_not_be_paid_and_its_bust_then_no_money_comes_from_nowhere(books_first: bool) -> None:
    """The fill waits as a break. Its bust gives back only what was paid: nothing before the fill is booked."""
    world = funded(BUY)
    world.tell_gate(ORDERS_EXECUTIONS, trade(BUY, "x", 9, beyond(BUY), 9, 1))
    resolve(world, BreakAction.BOOK, 0)
    rest_e4 = world.ledger.available("@CASH")
    world.tell_gate(RISK_COMMANDS, withdraw(command_id="w", cash_e4=rest_e4))
    world.tell_gate(ORDERS_EXECUTIONS, trade(BUY, "t", 6, 100, 6, 4))
    assert reasons(world)[-1] is BreakReason.CASH_SHORT
    bust = report(BUY, ExecType.TRADE_CANCEL, "b", ref_execution_id="t", cum_qty=0, leaves_qty=QTY)
    before = dict(world.ledger.amounts)
    if not books_first:
        world.tell_gate(ORDERS_EXECUTIONS, bust)
        assert world.ledger.amounts == before
        assert reasons(world)[-1] is BreakReason.BUST_UNKNOWN
    world.tell_gate(RISK_COMMANDS, fund(command_id="f", cash_e4=10_000_000))
    resolve(world, BreakAction.BOOK, 1)
    if books_first:
        world.tell_gate(ORDERS_EXECUTIONS, bust)
    else:
        resolve(world, BreakAction.BOOK, 2)
    world.arrive_all()
    world.check_money()
    world.check_agreement(BUY)
    assert not world.open_breaks()
    assert (order_of(world).cum_qty, order_of(world).leaves_qty) == (9, 1)
