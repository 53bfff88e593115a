"""Reads and writes what accounts did lately: of one intent, and of a run in columns. See ``domain.activity``."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from streams.model.tables import Table, Tables

from risk.domain.activity import (
    NO_ROW,
    ActivityRow,
    Done,
    activity_of,
    body_of_order,
    open_orders,
    orders_in,
    recent_intents,
    recent_orders,
    remembers_bodies,
    twins_ns,
    with_done,
)
from risk.domain.equity import Losses
from risk.domain.gate import AccountState, Limits, Verdict
from risk.domain.gate_kernel import ANSWERED, PLACED, RECENT, Lately
from risk.domain.intent import Order
from risk.domain.text_kernel import Array

TABLE: Final = "activity"
NO_LOSSES: Final = Losses()


class Place(NamedTuple):
    """An account, by its number in the run, in a symbol; and the levels of its open orders there."""

    account: int
    symbol: str
    buys: bytes
    sells: bytes


# --- one intent ---------------------------------------------------------------------------------------------------


def with_activity(
    state: AccountState, order: Order, tables: Tables, account_key: bytes, limits: Limits, now_ns: int
) -> AccountState:
    """The state with what the account did before the order."""
    row: ActivityRow = tables.changelogged(TABLE).get(account_key) or NO_ROW
    open_count = open_orders(state.row, state.position, order.symbol)
    return replace(state, activity=activity_of(row, order, open_count, limits, now_ns))


def keep_activity(
    order: Order, verdict: Verdict, tables: Tables, account_key: bytes, limits: Limits, now_ns: int
) -> None:
    """Counts an intent that was decided, of a known account in a known symbol."""
    table = tables.changelogged(TABLE)
    done = Done({order.symbol: 1})
    if verdict.denial is None:
        bodies = (body_of_order(order),) if remembers_bodies(limits) else ()
        done = Done({order.symbol: 1}, 1, order.qty, verdict.price_e4 * order.qty, bodies)
    table.put(account_key, with_done(table.get(account_key) or NO_ROW, done, limits, now_ns))


# --- a run --------------------------------------------------------------------------------------------------------


class RunActivity:
    """Recent and open orders of a run's accounts: from before it, and those of the run itself."""

    def __init__(
        self, keys: Sequence[bytes], account_of: Array, table: Table, limits: Limits, now_ns: int, counted: Array
    ) -> None:
        """``counted``: bool of each account, whether one of its limits asks."""
        self._keys, self._account_of, self._table, self._counted = keys, account_of, table, counted
        self._limits, self._now_ns = limits, now_ns
        self._rows: list[ActivityRow] = [row or NO_ROW for row in table.get_many(keys)]

    def columns(self, orders: Sequence[Order], places: Sequence[Place], lost: Mapping[int, Losses]) -> Lately:
        """Columns for the kernel. ``places`` are those of the run's positions, ``lost`` is by number of the account."""
        recents = np.array(
            [
                (*recent_orders(row, self._limits, self._now_ns), *lost.get(number, NO_LOSSES))
                for number, row in enumerate(self._rows)
            ],
            RECENT,
        )
        placed = np.zeros(len(places), PLACED)
        placed["intents"] = [
            recent_intents(self._rows[each.account], each.symbol, self._limits, self._now_ns) for each in places
        ]
        placed["open_orders"] = [orders_in(each.buys) + orders_in(each.sells) for each in places]
        self._bodies, body_of = self._numbered(orders)
        twins = [twins_ns(self._rows[account], body, self._limits, self._now_ns) for account, body in self._bodies]
        self._orders, self._body_of = orders, body_of
        return Lately(recents, placed, body_of, np.array(twins, np.int64))

    def _numbered(self, orders: Sequence[Order]) -> tuple[list[tuple[int, int]], Array]:
        """Each body of an account once, and of each order the number of its body."""
        if not remembers_bodies(self._limits):
            return [(0, 0)], np.zeros(len(orders), np.int64)
        bodies = list(zip(self._account_of.tolist(), map(body_of_order, orders), strict=True))
        numbers = dict(zip(dict.fromkeys(bodies), range(len(bodies)), strict=False))
        return list(numbers), np.fromiter(map(numbers.__getitem__, bodies), np.int64, len(bodies))

    def keep(self, decided: Array, is_counted: Array) -> None:
        """Writes what was decided, ORDER[n]. ``is_counted``: whether account and symbol of an intent are known."""
        intents: defaultdict[int, Counter[str]] = defaultdict(Counter)
        accepted: defaultdict[int, list[int]] = defaultdict(list)
        is_counted = is_counted & self._counted[self._account_of]
        for at in np.flatnonzero(is_counted & (decided["failed"] != ANSWERED)).tolist():
            account = int(self._account_of[at])
            intents[account][self._orders[at].symbol] += 1
            if decided["accepted"][at]:
                accepted[account].append(at)
        for account, sent in intents.items():
            of = accepted[account]
            done = Done(
                sent,
                len(of),
                sum(self._orders[at].qty for at in of),
                sum(int(decided["price_e4"][at]) * self._orders[at].qty for at in of),
                [self._bodies[self._body_of[at]][1] for at in of] if remembers_bodies(self._limits) else (),
            )
            self._table.put(self._keys[account], with_done(self._rows[account], done, self._limits, self._now_ns))
