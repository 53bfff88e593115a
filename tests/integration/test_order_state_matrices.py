"""FIX 4.4, volume 7, appendix D: the matrices of order state changes that apply, as rows.

A row is what happens to an order of 10 at 100.00, step by step, and what stands after each: its state, CumQty and
LeavesQty as the lifecycle says them, and the shares that the gate holds cash (a BUY) or shares (a SELL) for. So money
follows every step of a matrix. Matrices about what Tidemark does not offer (replace, suspended, done for day, stops)
have no row.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest
from common.contracts.cancels import OrderCancel
from common.contracts.events import ExecType, ExecutionReport, OrderIntent, OrderState
from common.contracts.topics import ORDERS_CANCELS, ORDERS_EXECUTIONS
from common.contracts.values import Side, TimeInForce
from common.testing.orders import ACCOUNT, NOW_NS, SYMBOL, report

from tests.integration.judged_world import BUY, LIMIT_E4, QTY, SELL, World, funded, trade

_S = OrderState
_X = ExecType
Say = Callable[[OrderIntent], ExecutionReport]


class Stands(NamedTuple):
    """An order after a step. ``leaves_qty`` is also what the gate holds for it."""

    state: OrderState
    cum_qty: int
    leaves_qty: int


CANCEL_REQUEST: Final = "cancel request"
Step = tuple[Say | str, Stands]


def says(exec_type: ExecType, cum_qty: int, leaves_qty: int, ref: str | None = None) -> Say:
    """A report without a fill; its id is made of what it says."""
    name = f"{exec_type}-{cum_qty}-{ref}"
    return lambda of: report(of, exec_type, name, cum_qty=cum_qty, leaves_qty=leaves_qty, ref_execution_id=ref)


def fills(execution_id: str, qty: int, cum_qty: int, leaves_qty: int) -> Say:
    return lambda of: trade(of, execution_id, qty, 100, cum_qty, leaves_qty)


def corrects(ref: str, qty: int, cum_qty: int, leaves_qty: int) -> Say:
    return lambda of: trade(
        of, f"correct-{ref}", qty, 100, cum_qty, leaves_qty, exec_type=_X.TRADE_CORRECT, ref_execution_id=ref
    )


NEW: Final[Step] = (says(_X.NEW, 0, QTY), Stands(_S.WORKING, 0, 10))
FOUR: Final[Step] = (fills("t1", 4, 4, 6), Stands(_S.PARTIALLY_FILLED, 4, 6))

MATRICES: Final[dict[str, list[Step]]] = {
    "filled in parts": [NEW, FOUR, (fills("t2", 6, 10, 0), Stands(_S.FILLED, 10, 0))],
    "day order expires part filled": [NEW, FOUR, (says(_X.EXPIRED, 4, 0), Stands(_S.EXPIRED, 4, 0))],
    "rejected": [(says(_X.REJECTED, 0, 0), Stands(_S.REJECTED, 0, 0))],
    "cancel of an order without a fill": [
        NEW,
        (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 0, 10)),
        (says(_X.CANCELED, 0, 0), Stands(_S.CANCELED, 0, 0)),
    ],
    "fills while a cancel is pending": [
        NEW,
        FOUR,
        (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 4, 6)),
        (fills("t2", 3, 7, 3), Stands(_S.PENDING_CANCEL, 7, 3)),
        (says(_X.CANCELED, 7, 0), Stands(_S.CANCELED, 7, 0)),
    ],
    "filled before the cancel is accepted": [
        NEW,
        (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 0, 10)),
        (fills("t1", 10, 10, 0), Stands(_S.FILLED, 10, 0)),
        (says(_X.CANCEL_REJECTED, 10, 0), Stands(_S.FILLED, 10, 0)),
    ],
    "cancel before the order is acknowledged": [
        (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 0, 10)),
        (says(_X.NEW, 0, QTY), Stands(_S.PENDING_CANCEL, 0, 10)),
        (says(_X.CANCELED, 0, 0), Stands(_S.CANCELED, 0, 0)),
    ],
    "cancel refused": [
        NEW,
        FOUR,
        (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 4, 6)),
        (says(_X.CANCEL_REJECTED, 4, 6), Stands(_S.PARTIALLY_FILLED, 4, 6)),
    ],
    "canceled by the venue, not asked for": [NEW, FOUR, (says(_X.CANCELED, 4, 0), Stands(_S.CANCELED, 4, 0))],
    "bust of a fill of an open order": [
        NEW,
        FOUR,
        (says(_X.TRADE_CANCEL, 0, 10, "t1"), Stands(_S.WORKING, 0, 10)),
    ],
    "correction of a fill of an open order": [
        NEW,
        FOUR,
        (corrects("t1", 3, 3, 7), Stands(_S.PARTIALLY_FILLED, 3, 7)),
    ],
    "bust after the order was canceled": [
        NEW,
        FOUR,
        (says(_X.CANCELED, 4, 0), Stands(_S.CANCELED, 4, 0)),
        (says(_X.TRADE_CANCEL, 0, 0, "t1"), Stands(_S.CANCELED, 0, 0)),
    ],
}

TERMS: Final[dict[str, tuple[dict[str, Any], list[Step]]]] = {
    "fill or kill that cannot be filled": (
        {"time_in_force": TimeInForce.FOK},
        [NEW, (says(_X.CANCELED, 0, 0), Stands(_S.CANCELED, 0, 0))],
    ),
    "fill or kill, killed before it is acknowledged": (
        {"time_in_force": TimeInForce.FOK},
        [(says(_X.CANCELED, 0, 0), Stands(_S.CANCELED, 0, 0))],
    ),
    "fill or kill that is filled": (
        {"time_in_force": TimeInForce.FOK, "min_qty": QTY},
        [NEW, (fills("t1", 10, 10, 0), Stands(_S.FILLED, 10, 0))],
    ),
    "immediate or cancel that is filled in part": (
        {"time_in_force": TimeInForce.IOC, "min_qty": 4},
        [NEW, FOUR, (says(_X.CANCELED, 4, 0), Stands(_S.CANCELED, 4, 0))],
    ),
    "good till canceled, filled on several days": (
        {"time_in_force": TimeInForce.GTC},
        [
            NEW,
            FOUR,
            (fills("t2", 5, 9, 1), Stands(_S.PARTIALLY_FILLED, 9, 1)),
            (fills("t3", 1, 10, 0), Stands(_S.FILLED, 10, 0)),
        ],
    ),
    "good till canceled, part filled and canceled": (
        {"time_in_force": TimeInForce.GTC},
        [
            NEW,
            FOUR,
            (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 4, 6)),
            (says(_X.CANCELED, 4, 0), Stands(_S.CANCELED, 4, 0)),
        ],
    ),
    "good till date, expires while a cancel is pending": (
        {"time_in_force": TimeInForce.GTD, "expire_ns": NOW_NS + 1},
        [
            NEW,
            FOUR,
            (CANCEL_REQUEST, Stands(_S.PENDING_CANCEL, 4, 6)),
            (says(_X.EXPIRED, 4, 0), Stands(_S.EXPIRED, 4, 0)),
            (says(_X.CANCEL_REJECTED, 4, 0), Stands(_S.EXPIRED, 4, 0)),
        ],
    ),
}
"""Terms of an order, and what happens to it."""


def _happen(world: World, of: OrderIntent, step: Say | str) -> None:
    if isinstance(step, str):
        cancel = OrderCancel(account_id=ACCOUNT, order_id=f"{of.account_id}.{of.client_order_id}", sent_ns=NOW_NS)
        world.written[ORDERS_CANCELS.name].append(cancel)
    else:
        world.tell_gate(ORDERS_EXECUTIONS, step(of))
    world.arrive_all()


def _held_qty(world: World, of: OrderIntent) -> int:
    """Shares that the gate's ledger has something reserved for."""
    if of.side is Side.BUY:
        shares, rest = divmod(world.ledger.reserved_cash_e4, LIMIT_E4)
        assert rest == 0
        return shares
    return world.ledger.positions()[SYMBOL][1]


@pytest.mark.parametrize("of", [BUY, SELL], ids=["buy", "sell"])
@pytest.mark.parametrize(
    ("terms", "matrix"), [*(({}, steps) for steps in MATRICES.values()), *TERMS.values()], ids=[*MATRICES, *TERMS]
)
def test_matrix_then_state_quantities_and_what_is_held_after_every_step(
    of: OrderIntent, terms: dict[str, Any], matrix: list[Step]
) -> None:
    of = of.model_copy(update=terms)
    world = funded(of)
    for number, (step, stands) in enumerate(matrix, 1):
        _happen(world, of, step)
        event = world.events[-1]
        assert Stands(event.state, event.cum_qty, event.leaves_qty) == stands, f"step {number}"
        assert {name: getattr(event, name) for name in terms} == terms
        assert _held_qty(world, of) == stands.leaves_qty, f"step {number}"
        world.check_money()
        world.check_agreement(of)
    assert world.open_breaks() == {}
