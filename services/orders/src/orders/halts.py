"""Halts in the lifecycle stage: where trading is stopped, what is open is canceled, and what still comes.

The gate accepts nothing more once it knows of a halt. What it accepted just before may come here after the halt, by
another topic, and is canceled as it begins.
"""

from typing import Final

from common.contracts.controls import FIRM, ControlResult, TradingState
from common.contracts.events import OrderEvent, OrderState
from streams.model.message import Handled
from streams.model.tables import Tables

from orders.cancels import canceled, open_orders
from orders.domain.lifecycle import CLOSED
from orders.lifecycle_rows import HaltsRow

HALTED_TEXT: Final = "cancel requested: trading is halted"
EVERYTHING: Final = ""
"""In place of a symbol."""


def on_control_result(result: ControlResult, tables: Tables, now_ns: int) -> Handled:
    """Cancels the open orders that are halted now and were not before."""
    controls = result.controls
    if controls is None:
        return
    table, key = tables.changelogged("halts"), result.account_id.encode()
    before: HaltsRow = table.get(key) or HaltsRow()
    if controls.seq <= before.seq:
        return
    halted = [each.symbol or EVERYTHING for each in controls.states if each.state is TradingState.HALTED]
    table.put(key, HaltsRow(controls.seq, tuple(sorted(halted))))
    for order in open_orders(tables, None if result.account_id == FIRM else result.account_id):
        was_halted = _concerns(before.symbols, order)
        if _concerns(halted, order) and not was_halted and order.state is not OrderState.PENDING_CANCEL:
            yield from canceled(tables, order, result.decided_ns, now_ns, HALTED_TEXT)


def on_begun(order_id: str, tables: Tables, now_ns: int) -> Handled:
    """Cancels an order that was accepted before trading was halted, and begins after it."""
    order: OrderEvent | None = tables.changelogged("orders").get(order_id.encode())
    assert order is not None, "it has just begun"
    if order.state in CLOSED or order.state is OrderState.PENDING_CANCEL:
        return
    for key in (FIRM, order.account_id):
        row: HaltsRow | None = tables.changelogged("halts").get(key.encode())
        if row is not None and _concerns(row.symbols, order):
            yield from canceled(tables, order, now_ns, now_ns, HALTED_TEXT)
            return


def _concerns(symbols: tuple[str, ...] | list[str], order: OrderEvent) -> bool:
    return EVERYTHING in symbols or order.symbol in symbols
