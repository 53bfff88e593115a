"""The gate over many intents at once: it accepts and reserves what ``risk.domain.gate`` would accept, and nothing else.

What it does not accept it leaves alone: a denial moves nothing, so each of them, and each repeat of an id, is answered
by the readable gate afterwards, from the account as it stood then. Reasons and their numbers exist there only.
"""

from typing import Final, NamedTuple

import numpy as np
from common.contracts.values import E4, INT64_MAX

from risk.domain.answer_kernel import (
    DECISION_CHARS,
    ENTRY_CHARS,
    LINK_CHARS,
    ROW_BYTES,
    write_decision,
    write_entry,
    write_row,
)
from risk.domain.open_orders import LEVELS_MAX, PROCEEDS_FACTOR
from risk.domain.text_kernel import Array
from risk.kernels import kernel, part

ACCOUNT: Final = np.dtype(
    [
        ("cash_e4", "<i8"),
        ("reserved_cash_e4", "<i8"),
        ("seq", "<i8"),
        ("active", "<i8"),  # it may trade
        ("pending_cash_e4", "<i8"),
    ]
)
POSITION: Final = np.dtype([("qty", "<i8"), ("reserved_qty", "<i8")])
LEVEL: Final = np.dtype([("rank_e4", "<i8"), ("orders", "<i8")])
"""``open_orders.LEVEL``."""
SIDE: Final = np.dtype(
    [
        ("begin", "<i8"),  # of its levels, with room behind them for the orders of the run
        ("used", "<i8"),  # how many there are
        ("changed", "<i8"),
    ]
)
MARKET: Final = np.dtype(
    [
        ("lot_qty", "<i8"),  # 0: nothing may be traded
        ("tick_e4", "<i8"),
        ("sub_unit_tick_e4", "<i8"),
        ("buy_price_e4", "<i8"),  # of a MARKET order, see ``gate.market_price_e4``; 0: none can be had
        ("sell_price_e4", "<i8"),
        ("buy_bound_e4", "<i8"),  # of a LIMIT order, see ``gate.limit_bound_e4``; 0: none can be had
        ("sell_bound_e4", "<i8"),
        ("qty_max", "<i8"),
        ("notional_max_e4", "<i8"),
        ("self_cross_denied", "<i8"),
        ("instrument_id", "<i8"),
        ("mark_begin", "<i8"),  # in ``marks``: the mark as a decision has it
        ("mark_end", "<i8"),
        ("packed_begin", "<i8"),  # and as a row has it
        ("packed_end", "<i8"),
    ]
)
RUN: Final = np.dtype([("now_ns", "<i8"), ("partition", "<i8"), ("chain_seq", "<i8")])  # of the last entry
ORDER: Final = np.dtype(
    [
        ("accepted", "?"),
        ("price_e4", "<i8"),
        ("amount", "<i8"),  # what is reserved: cash of a BUY, shares of a SELL
        ("account_seq", "<i8"),  # before it, as the five
        ("reserved_cash_e4", "<i8"),
        ("reserved_qty", "<i8"),
        ("pending_cash_e4", "<i8"),
        ("opposite_e4", "<i8"),
        ("decision_end", "<i8"),  # where its texts end; they begin where those of the accepted one before it end
        ("entry_end", "<i8"),
        ("row_end", "<i8"),
    ],
    align=True,
)
_INT64_MAX: Final = np.int64(INT64_MAX)
_FACTOR: Final = np.int64(PROCEEDS_FACTOR)


@part
def _price_e4(intent, market):  # type: ignore[no-untyped-def]
    """The worst price it may trade at, 0 where its price is not as it should be."""
    if intent.market:
        if intent.priced:
            return np.int64(0)
        return market.sell_price_e4 if intent.sell else market.buy_price_e4
    price_e4 = intent.limit_price_e4
    tick_e4 = market.tick_e4 if price_e4 >= E4 else market.sub_unit_tick_e4
    if not intent.priced or price_e4 <= 0 or price_e4 % tick_e4:
        return np.int64(0)
    if intent.sell:
        return price_e4 if 0 < market.sell_bound_e4 <= price_e4 else np.int64(0)
    return price_e4 if price_e4 <= market.buy_bound_e4 else np.int64(0)


@part
def _amount(intent, account, market, position, price_e4, opposite_e4):  # type: ignore[no-untyped-def]
    """What accepting it reserves; 0: it is not accepted. Divides where a product could pass 64 bits."""
    qty = intent.qty
    if not account.active or qty <= 0 or qty % market.lot_qty or qty > market.qty_max or price_e4 <= 0:
        return np.int64(0)
    if qty > market.notional_max_e4 // price_e4:
        return np.int64(0)
    guarded = opposite_e4 > 0 and market.self_cross_denied != 0
    if intent.sell:
        room_e4 = _INT64_MAX - account.cash_e4 - account.pending_cash_e4
        if (guarded and price_e4 <= opposite_e4) or qty > room_e4 // _FACTOR // price_e4:
            return np.int64(0)
        return qty if qty <= position.qty - position.reserved_qty else np.int64(0)
    if (guarded and price_e4 >= opposite_e4) or qty > _INT64_MAX - position.qty - account.reserved_cash_e4:
        return np.int64(0)
    cash_e4 = price_e4 * qty
    return cash_e4 if cash_e4 <= account.cash_e4 - account.reserved_cash_e4 else np.int64(0)


@part
def _count_price(levels, side, price_e4, sell):  # type: ignore[no-untyped-def]
    """``open_orders.with_price`` in place."""
    begin, used = side.begin, side.used
    rank_e4 = price_e4 if sell else -price_e4
    at = begin
    while at < begin + used and levels[at].rank_e4 < rank_e4:
        at += 1
    side.changed = 1
    if at < begin + used and levels[at].rank_e4 == rank_e4:
        levels[at].orders += 1
        return
    if at == begin + LEVELS_MAX:
        levels[at - 1].orders += 1
        return
    others = np.int64(0)
    if used == LEVELS_MAX:
        used -= 1
        others = levels[begin + used].orders
    for after in range(begin + used, at, -1):
        levels[after].rank_e4 = levels[after - 1].rank_e4
        levels[after].orders = levels[after - 1].orders
    levels[at].rank_e4 = rank_e4
    levels[at].orders = 1
    levels[begin + used].orders += others
    side.used = used + 1


@kernel
def _decide(  # type: ignore[no-untyped-def]
    source, intents, answered, account_of, accounts, position_of, positions, sides, levels, market_of, markets, marks,
    runs, offsets, orders, decisions, entries, rows,
):  # fmt: skip
    run = runs[0]
    decision_at = entry_at = row_at = 0
    chain_seq = run.chain_seq
    for i in range(intents.size):
        intent, order = intents[i], orders[i]
        account, market, position = accounts[account_of[i]], markets[market_of[i]], positions[position_of[i]]
        own = 2 * position_of[i] + (1 if intent.sell else 0)
        opposite = sides[own ^ 1]
        order.account_seq = account.seq
        order.reserved_cash_e4 = account.reserved_cash_e4
        order.reserved_qty = position.reserved_qty
        order.pending_cash_e4 = account.pending_cash_e4
        order.opposite_e4 = abs(levels[opposite.begin].rank_e4) if opposite.used else np.int64(0)
        order.amount = 0
        if not answered[i] and market.lot_qty > 0:
            order.price_e4 = _price_e4(intent, market)
            order.amount = _amount(intent, account, market, position, order.price_e4, order.opposite_e4)
        order.accepted = order.amount > 0
        if order.accepted:
            chain_seq += 1
            decision_at = write_decision(
                decisions, decision_at, source, intent, order, market, marks, run, offsets[i]
            )  # fmt: skip
            entry_at = write_entry(entries, entry_at, source, intent, order, market, run, chain_seq)
            row_at = write_row(rows, row_at, source, intent, order, market, marks, run)
            account.seq += 1
            _count_price(levels, sides[own], order.price_e4, intent.sell)
            if intent.sell:
                position.reserved_qty += order.amount
                account.pending_cash_e4 += _FACTOR * order.price_e4 * order.amount
            else:
                account.reserved_cash_e4 += order.amount
        order.decision_end, order.entry_end, order.row_end = decision_at, entry_at, row_at
        entry_at += LINK_CHARS if order.accepted else 0


class Inputs(NamedTuple):
    """What the gate is asked, in columns; a column ends in ``_of`` where it has an index for each intent."""

    source: Array
    """uint8: text that the intents point into."""
    intents: Array
    """INTENT[n]; all of them plain."""
    answered: Array
    """bool[n]: its id was answered before."""
    account_of: Array
    accounts: Array
    """ACCOUNT; changed by what is accepted."""
    position_of: Array
    positions: Array
    """POSITION of an account in a symbol, held or not; changed by what is accepted."""
    sides: Array
    """SIDE[2 positions]: of each its BUY and its SELL orders; changed by what is accepted."""
    levels: Array
    """LEVEL; changed by what is accepted."""
    market_of: Array
    markets: Array
    """MARKET."""
    marks: Array
    """uint8: what the markets point into."""
    run: Array
    """RUN[1]."""
    offsets: Array
    """int64[n]: of the intents in their topic."""


class Accepted(NamedTuple):
    """What was decided. The texts are those of the accepted orders, one after the other."""

    orders: Array
    """ORDER[n]."""
    decisions: Array
    entries: Array
    """Not linked yet."""
    rows: Array


def decide_all(inputs: Inputs) -> Accepted:
    """Decides each intent in its order."""
    count = len(inputs.intents)
    mark_bytes = int(max(inputs.markets["mark_end"] - inputs.markets["mark_begin"], default=0))
    packed_bytes = int(max(inputs.markets["packed_end"] - inputs.markets["packed_begin"], default=0))
    orders = np.zeros(count, ORDER)
    decisions = np.empty(len(inputs.source) + count * (DECISION_CHARS + mark_bytes), np.uint8)
    entries = np.empty(count * ENTRY_CHARS, np.uint8)
    rows = np.empty(count * (ROW_BYTES + packed_bytes), np.uint8)
    _decide(*inputs, orders, decisions, entries, rows)
    return Accepted(orders, decisions, entries, rows)
