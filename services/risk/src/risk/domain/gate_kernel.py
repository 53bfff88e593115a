"""The compiled path of the gate: many intents at once, on rows of arrays. The rules are ``common.checks.gate``.

It decides nothing by itself: the compiled chain of checks says which one an intent fails, and what passes all of them
is reserved, in the order of the intents. Accounts and positions of the others are kept as they stood, so that what the
check compared can be said afterwards.
"""

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, Final, NamedTuple

import numpy as np
from common.checks.case import AccountFields, ActivityFields, Case, LimitFields, MarketFields, PositionFields, row_of
from common.checks.check import CheckChain
from common.checks.prices import PROCEEDS_FACTOR, worst_price_e4
from common.compiled_checks import compiled
from common.contracts.values import INT64_MAX
from numba.extending import register_jitable

from risk.domain.answer_kernel import (
    DECISION_CHARS,
    ENTRY_CHARS,
    LINK_CHARS,
    ROW_BYTES,
    write_decision,
    write_entry,
    write_row,
)
from risk.domain.open_orders import LEVELS_MAX
from risk.domain.text_kernel import Array
from risk.kernels import kernel, kernel_with, part

ACCOUNT: Final = row_of(AccountFields, ("seq", "<i8"))
POSITION: Final = row_of(PositionFields)
MARKET: Final = row_of(MarketFields)
LIMITS: Final = row_of(LimitFields)
ACTIVITY: Final = row_of(ActivityFields)
RECENT: Final = np.dtype(
    [(name, "<i8") for name in ("orders", "qty", "notional_e4", "bodies", "loss_e4", "drawdown_e4")]
)
"""Row of an account's own counts, as ``ActivityFields``."""
PLACED: Final = np.dtype([("intents", "<i8"), ("open_orders", "<i8")])
"""Row of an account's counts in a symbol, likewise."""
LEVEL: Final = np.dtype([("rank_e4", "<i8"), ("orders", "<i8")])
"""``open_orders.LEVEL``."""
SIDE: Final = np.dtype(
    [
        ("begin", "<i8"),  # of its levels, with room behind them for the orders of the run
        ("used", "<i8"),  # how many there are
        ("changed", "<i8"),
    ]
)
RUN: Final = np.dtype([("now_ns", "<i8"), ("partition", "<i8"), ("chain_seq", "<i8")])  # of the last entry
ORDER: Final = np.dtype(
    [
        ("accepted", "?"),
        ("failed", "<i8"),  # number of the check that it fails; ANSWERED: none was asked
        ("price_e4", "<i8"),
        ("amount", "<i8"),  # what is reserved: cash of a BUY, shares of a SELL
        ("account_seq", "<i8"),  # before it
        ("decision_end", "<i8"),  # where its texts end; they begin where those of the accepted one before it end
        ("entry_end", "<i8"),
        ("row_end", "<i8"),
    ],
    align=True,
)
ANSWERED: Final = -1
_MAX: Final = np.int64(INT64_MAX)
_FACTOR: Final = np.int64(PROCEEDS_FACTOR)
register_jitable(forceinline=True, _nrt=False)(worst_price_e4)


@part
def _count_price(levels, side, price_e4, sell):
    """``open_orders.with_price`` in place. Returns the best price after it."""
    begin, used = side.begin, side.used
    rank_e4 = price_e4 if sell else -price_e4
    at = begin
    while at < begin + used and levels[at].rank_e4 < rank_e4:
        at += 1
    side.changed = 1
    if at < begin + used and levels[at].rank_e4 == rank_e4:
        levels[at].orders += 1
        return abs(levels[begin].rank_e4)
    if at == begin + LEVELS_MAX:
        levels[at - 1].orders += 1
        return abs(levels[begin].rank_e4)
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
    return abs(levels[begin].rank_e4)


@part
def _reserve(intent, order, account, position, sides, levels, buys):
    """Moves what ``ledger.reserve`` moves. The checks have bounded each product and each sum."""
    account.seq += 1
    if intent.sell:
        order.amount = intent.qty
        position.reserved_qty += intent.qty
        account.pending_cash_e4 += _FACTOR * order.price_e4 * intent.qty
        position.open_sell_price_e4 = _count_price(levels, sides[buys + 1], order.price_e4, True)
    else:
        order.amount = order.price_e4 * intent.qty
        account.reserved_cash_e4 += order.amount
        position.open_buy_price_e4 = _count_price(levels, sides[buys], order.price_e4, False)
        position.open_buy_qty += min(intent.qty, _MAX - position.open_buy_qty)


@part
def _meet(activity, recent, placed, twin_ns):
    """Counts that the checks look at: of the account, of the account in the symbol, and of the order's body."""
    activity.orders, activity.qty, activity.notional_e4 = recent.orders, recent.qty, recent.notional_e4
    activity.bodies, activity.twin_ns = recent.bodies, twin_ns
    activity.loss_e4, activity.drawdown_e4 = recent.loss_e4, recent.drawdown_e4
    activity.intents, activity.open_orders = placed.intents, placed.open_orders


@part
def _count_body(times, now_ns):
    """Puts it before the times that orders of the body were accepted at, and forgets the oldest."""
    for after in range(times.size - 1, 0, -1):
        times[after] = times[after - 1]
    times[0] = now_ns


@part
def _count(intent, order, recent, placed):
    """Counts an intent that was decided, as ``activity.with_done``."""
    placed.intents += 1
    if order.accepted:
        placed.open_orders += 1
        recent.orders += 1
        recent.bodies += 1
        recent.qty += min(intent.qty, _MAX - recent.qty)
        recent.notional_e4 += min(order.price_e4 * intent.qty, _MAX - recent.notional_e4)


def first_failing(_case: Case) -> int:
    """Stands for the compiled chain, which takes its place in each ``Decider``."""
    raise NotImplementedError


def _decide(
    intents, answered, account_of, accounts, position_of, positions, sides, levels, market_of, markets, limits,
    now_ns, passed, orders, stood_accounts, stood_positions,
    counted, recents, places, body_of, twins, activities, stood_activities, watched,
):  # fmt: skip
    activity = activities[0]
    for i in range(intents.size):
        intent, order = intents[i], orders[i]
        account, position = accounts[account_of[i]], positions[position_of[i]]
        if counted:
            _meet(activity, recents[account_of[i]], places[position_of[i]], twins[body_of[i], -1])
        case = Case(intent, account, position, markets[market_of[i]], limits[market_of[i]], now_ns, activity)
        order.account_seq = account.seq
        order.failed = ANSWERED if answered[i] else first_failing(case)
        order.accepted = order.failed == passed
        if watched or not order.accepted:
            stood_accounts[i] = account
            stood_positions[i] = position
            if counted:
                stood_activities[i] = activity
        if order.accepted:
            order.price_e4 = worst_price_e4(case)
            _reserve(intent, order, account, position, sides, levels, 2 * position_of[i])
        if counted and not answered[i]:
            _count(intent, order, recents[account_of[i]], places[position_of[i]])
            if order.accepted:
                _count_body(twins[body_of[i]], now_ns)


@kernel
def _write(source, intents, market_of, texts, marks, runs, offsets, says, orders, decisions, entries, rows):
    run = runs[0]
    decision_at = entry_at = row_at = 0
    chain_seq = run.chain_seq
    for i in range(intents.size):
        intent, order, text = intents[i], orders[i], texts[market_of[i]]
        if order.accepted:
            chain_seq += 1
            if says:
                decision_at = write_decision(
                    decisions, decision_at, source, intent, order, text, marks, run, offsets[i]
                )
            entry_at = write_entry(entries, entry_at, source, intent, order, run, chain_seq)
            row_at = write_row(rows, row_at, source, intent, order, text, marks, run)
        order.decision_end, order.entry_end, order.row_end = decision_at, entry_at, row_at
        entry_at += LINK_CHARS if order.accepted else 0


class Inputs(NamedTuple):
    """Questions to the gate, in columns; a column ends in ``_of`` where it has an index for each intent."""

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
    limits: Array
    """LIMITS of the markets."""
    texts: Array
    """TEXTS of the markets."""
    marks: Array
    """uint8: what the texts point into."""
    run: Array
    """RUN[1]."""
    offsets: Array
    """int64[n]: of the intents in their topic."""
    lately: "Lately"
    watched: bool = False
    """Whether accounts and positions are kept as they stood at accepted intents, too."""
    says: bool = True
    """Whether decisions are written as text; entries are always, since that text is hashed."""


class Lately(NamedTuple):
    """Recent activity of the accounts; empty columns where no limit asks for it."""

    recents: Array
    """RECENT of the accounts; changed by what is accepted."""
    places: Array
    """PLACED of the positions; changed by each intent that is not answered yet."""
    body_of: Array
    twins: Array
    """int64[bodies, ``duplicates_max``]: when orders of each were accepted, the newest first; changed likewise."""


NOTHING_LATELY: Final = Lately(
    np.zeros(0, RECENT), np.zeros(0, PLACED), np.zeros(0, np.int64), np.zeros((0, 1), np.int64)
)


class Decided(NamedTuple):
    """Decisions. The texts are those of the accepted orders, one after the other."""

    orders: Array
    """ORDER[n]."""
    accounts: Array
    """ACCOUNT[n]: as it stood, for each intent that is not accepted, or for all."""
    positions: Array
    """POSITION[n], likewise."""
    activities: Array
    """ACTIVITY[n], likewise; empty where nothing is counted."""
    decisions: Array
    """Empty where they are not to be written."""
    entries: Array
    """Not linked yet."""
    rows: Array


class Decider:
    """The compiled gate of one chain of checks."""

    def __init__(self, chain: CheckChain) -> None:
        self.chain: Final = chain
        self._decide: Final = _compiled(chain)

    def decide_all(self, inputs: Inputs) -> Decided:
        """Decides each intent in its order."""
        at = inputs
        count = len(at.intents)
        mark_bytes = int(max(at.texts["mark_end"] - at.texts["mark_begin"], default=0))
        packed_bytes = int(max(at.texts["packed_end"] - at.texts["packed_begin"], default=0))
        decided = Decided(
            np.zeros(count, ORDER),
            np.empty(count, ACCOUNT),
            np.empty(count, POSITION),
            np.empty(count if at.lately.body_of.size else 0, ACTIVITY),
            np.empty(len(at.source) + count * (DECISION_CHARS + mark_bytes) if at.says else 0, np.uint8),
            np.empty(count * ENTRY_CHARS, np.uint8),
            np.empty(count * (ROW_BYTES + packed_bytes), np.uint8),
        )
        self._decide(
            at.intents, at.answered, at.account_of, at.accounts, at.position_of, at.positions, at.sides, at.levels,
            at.market_of, at.markets, at.limits, at.run["now_ns"][0], self.chain.passed,
            decided.orders, decided.accounts, decided.positions,
            at.lately.body_of.size > 0, *at.lately, np.zeros(1, ACTIVITY), decided.activities,
            at.watched,
        )  # fmt: skip
        _write(
            at.source, at.intents, at.market_of, at.texts, at.marks, at.run, at.offsets, at.says,
            decided.orders, decided.decisions, decided.entries, decided.rows,
        )  # fmt: skip
        return decided


@lru_cache(maxsize=16)
def _compiled(chain: CheckChain) -> Callable[..., Any]:
    """The loop with the chain in it: numba compiles what a function's globals are, so each chain has its own."""
    names = {**globals(), first_failing.__name__: compiled(chain)}
    loop = FunctionType(_decide.__code__, names, _decide.__name__)
    loop.__module__, loop.__qualname__ = _decide.__module__, _decide.__qualname__
    made: Callable[..., Any] = kernel_with(chain)(loop)
    return made
