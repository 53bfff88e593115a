"""Cases for the gate's checks, drawn so that every check is reached by some."""

import random
from typing import Any

import msgspec
from common.checks.case import (
    AccountFields,
    ActivityFields,
    Case,
    LimitFields,
    MarketFields,
    OrderFields,
    PositionFields,
)
from common.checks.controls import BODIES_MAX
from common.checks.prices import BEYOND_64_BITS
from common.checks.terms import IOC
from common.contracts.values import E4, INT64_MAX, TIMES_IN_FORCE

NOW_NS = 1_700_000_000 * 10**9
EDGES = (0, 1, 99, 100, 101, E4 - 1, E4, E4 + 1, 10**6, 10**9, 10**15, 2**62, INT64_MAX - 1, INT64_MAX)
AGES_NS = (0, 0, 0, 1, -1, 5 * 10**9, -5 * 10**9, 5 * 10**9 + 1, NOW_NS)


MAXIMA = (
    "exposure_max_e4", "open_orders_max", "open_notional_max_e4", "window_orders_max", "window_qty_max",
    "window_notional_max_e4", "throttle_intents_max", "position_qty_max", "position_notional_max_e4",
    "daily_loss_max_e4", "drawdown_max_e4",
)  # fmt: skip


class Draw:
    """Draws cases: most fields of most cases are such that the next check is reached."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._choice = self._random.choice

    def amount(self) -> int:
        which = self._random.random()
        if which < 0.4:
            return self._choice(EDGES)
        return self._random.randrange(10**7 if which < 0.8 else INT64_MAX)

    def often(self) -> bool:
        return self._random.random() < 0.93

    def flag(self) -> bool:
        return self._random.random() < 0.5

    def order(self) -> OrderFields:
        qty, price_e4 = (self.amount() if self.often() else -self.amount() for _ in range(2))
        is_market = not self.often() or not self.often()
        terms = self._choice(
            (*[(0, False, 0, False, 0)] * 12, *((IOC, True, least, False, 0) for least in (0, 1, qty)))
        )
        if not self.often():
            numbers = (
                self._choice((0, 1, qty, min(qty, INT64_MAX - 1) + 1)),
                self._choice((0, 1, NOW_NS, NOW_NS + 1, INT64_MAX)),
            )
            terms = (self._choice(range(len(TIMES_IN_FORCE))), self.flag(), numbers[0], self.flag(), numbers[1])
        return OrderFields(qty, price_e4, self.flag(), is_market, self.often() is not is_market, *terms)

    def account(self) -> AccountFields:
        """Reserved amounts are part of the amounts held; an account that is not known has nothing."""
        if not self.often():
            return AccountFields()
        cash_e4 = self.amount()
        return AccountFields(True, self.often(), cash_e4, min(cash_e4, self.amount()), self.amount())

    def position(self) -> PositionFields:
        qty = self.amount()
        return PositionFields(qty, min(qty, self.amount()), self.amount(), self.amount(), self.amount())

    def market(self) -> MarketFields:
        """Lots and ticks of a known instrument are one at least."""
        known, marked = self.often(), self.often()
        bid_e4, ask_e4, last_e4, *worst = (self.amount() if known and marked else 0 for _ in range(10))
        if worst[0] and not self.often():
            worst[0] = BEYOND_64_BITS
        lots = [self._choice((1, 1, 1, 100, INT64_MAX)) if known else 0 for _ in range(3)]
        state = self._choice((ord("T"), ord("T"), ord("T"), ord("T"), ord("H"), 0))
        clock_ns = NOW_NS - self._choice(AGES_NS) if marked else 0
        market = MarketFields(known, marked, state, clock_ns, bid_e4, ask_e4, last_e4, *lots, *worst)
        times = {
            "reference_age_ns": self._choice(AGES_NS),
            "exchange_ns": self._choice((0, 1, NOW_NS, NOW_NS, INT64_MAX)),
        }
        return msgspec.structs.replace(market, **times)

    def limits(self) -> LimitFields:
        maxima: dict[str, Any] = {name: self.seldom() for name in MAXIMA}
        return LimitFields(
            mark_age_max_ns=self._choice((10**6, 5 * 10**9, INT64_MAX)),
            order_notional_max_e4=max(1, self.amount()) if self.flag() else INT64_MAX,
            order_qty_max=max(1, self.amount()) if self.flag() else INT64_MAX,
            unsaid_state_trades=self.flag(),
            self_cross_denied=self.flag(),
            self_match_mode=self._choice((1, 1, 1, 1, 1, 1, 2, 3)),
            restricted=not self.often(),
            reduce_only=not self.often(),
            price_band_bps=self._choice((0, 0, 0, 500)),
            average_volume_qty=self.amount(),
            volume_share_bps=self._choice((0, 0, 0, 0, 0, 1, 9_999, 10_000)),
            **maxima,
            duplicate_ns=self._choice((0, 1, 10**9, INT64_MAX)),
            trading_halted=not self.often(),
            reference_age_max_ns=self._choice((0, 0, 0, 5 * 10**9, INT64_MAX)),
        )

    def seldom(self) -> int:
        return 0 if self._random.random() < 0.8 else max(1, self.amount())

    def activity(self) -> ActivityFields:
        bodies, twin_ns = self._choice((0, BODIES_MAX - 1, BODIES_MAX)), self._choice((0, 1, NOW_NS, NOW_NS - 10**9))
        orders, qty, notional_e4, intents, open_orders = (self.amount() if self.flag() else 0 for _ in range(5))
        lost = (self.amount() if self.flag() else 0 for _ in range(2))
        return ActivityFields(orders, qty, notional_e4, bodies, intents, open_orders, twin_ns, *lost)

    def case(self) -> Case:
        own = self.order(), self.account(), self.position()
        return Case(*own, self.market(), self.limits(), NOW_NS, self.activity())
