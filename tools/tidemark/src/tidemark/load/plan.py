"""Actions of the client accounts, and their times: a pure function of a seed.

Actions arrive as a Poisson process. A price is a distance from the market, in ticks; it becomes a number only when the
action is sent, from the quote of that moment.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.contracts.values import E4, OrderType, Side, TimeInForce

NS: Final = 1_000_000_000
TICK_E4: Final = 100
SUB_UNIT_TICK_E4: Final = 1


class ActionKind(StrEnum):
    """An action of an account. The last five are wrong on purpose, and must be denied."""

    PASSIVE = "passive"
    GTC = "gtc"
    AGGRESSIVE = "aggressive"
    IOC = "ioc"
    FOK = "fok"
    MARKET = "market"
    CANCEL = "cancel"
    NO_SUCH_SYMBOL = "no_such_symbol"
    NO_QUANTITY = "no_quantity"
    OFF_TICK = "off_tick"
    TOO_MUCH_CASH = "too_much_cash"
    TOO_MUCH_STOCK = "too_much_stock"


WEIGHTS: Final[dict[ActionKind, int]] = {
    ActionKind.PASSIVE: 27,
    ActionKind.GTC: 3,
    ActionKind.AGGRESSIVE: 25,
    ActionKind.IOC: 12,
    ActionKind.FOK: 3,
    ActionKind.MARKET: 10,
    ActionKind.CANCEL: 15,
    ActionKind.NO_SUCH_SYMBOL: 1,
    ActionKind.NO_QUANTITY: 1,
    ActionKind.OFF_TICK: 1,
    ActionKind.TOO_MUCH_CASH: 1,
    ActionKind.TOO_MUCH_STOCK: 1,
}
RESTING: Final = frozenset({ActionKind.PASSIVE, ActionKind.GTC})
"""Orders that rest behind the touch, and are there to be canceled."""
WRONG: Final = frozenset(
    {
        ActionKind.NO_SUCH_SYMBOL,
        ActionKind.NO_QUANTITY,
        ActionKind.OFF_TICK,
        ActionKind.TOO_MUCH_CASH,
        ActionKind.TOO_MUCH_STOCK,
    }
)
_TIMES: Final = {each: TimeInForce[each.name] for each in (ActionKind.GTC, ActionKind.IOC, ActionKind.FOK)}
TOO_MANY_SHARES: Final = 1_000_000_000
FIRST_ACCOUNT_BUSYNESS: Final = 20
"""The first account, the one to look at on the screen, acts this many times as often as any other."""
TURN_ACTIONS: Final = 1_000
"""After so many actions of all, those who bought a symbol sell it and the other way round. An account that works both
sides of a symbol at once crosses its own orders, and the gate denies that (SELF_CROSS)."""
UNKNOWN_SYMBOL: Final = "NOSUCH.X"


@dataclass(frozen=True, slots=True)
class Action:
    """One intended action. ``at_ns`` counts from the beginning of the load."""

    at_ns: int
    number: int
    account: str
    kind: ActionKind
    symbol: str
    side: Side
    qty: int
    ticks_away: int
    """Away from the touch for passive orders, through it for the others."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Quote of a symbol; 0 where a side is empty or nothing was traded yet."""

    bid_e4: int
    ask_e4: int
    last_e4: int


@dataclass(frozen=True, slots=True)
class OrderBody:
    """The order to send for an action."""

    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    qty: int
    limit_price_e4: int | None
    min_qty: int | None = None


def account_names(count: int, prefix: str = "demo") -> tuple[str, ...]:
    """The accounts of a load."""
    return tuple(f"{prefix}-{number:04d}" for number in range(1, count + 1))


def holdings(accounts: Sequence[str], symbols: Sequence[str], *, each: int = 4) -> dict[str, tuple[str, ...]]:
    """The symbols that each account holds and trades: neighbours in the list, so that every symbol finds traders."""
    count = min(each, len(symbols))
    return {
        account: tuple(symbols[(number + step) % len(symbols)] for step in range(count))
        for number, account in enumerate(accounts)
    }


def actions(seed: int, held: dict[str, tuple[str, ...]], rate_per_s: float) -> Iterator[Action]:
    """An endless plan. Equal arguments give equal actions. The first account is busier than the others."""
    chance = random.Random(seed)
    accounts = tuple(held)
    numbers = range(len(accounts))
    busyness = (FIRST_ACCOUNT_BUSYNESS, *[1] * (len(accounts) - 1))
    kinds, weights = tuple(WEIGHTS), tuple(WEIGHTS.values())
    at_ns = 0
    number = 0
    while True:
        at_ns += int(chance.expovariate(rate_per_s) * NS)
        number += 1
        of = chance.choices(numbers, busyness)[0]
        symbols = held[accounts[of]]
        at = chance.randrange(len(symbols))
        buys = (of + at + number // TURN_ACTIONS) % 2 == 0
        yield Action(
            at_ns=at_ns,
            number=number,
            account=accounts[of],
            kind=chance.choices(kinds, weights)[0],
            symbol=symbols[at],
            side=Side.BUY if buys else Side.SELL,
            qty=chance.randint(1, 50),
            ticks_away=chance.randint(1, 5),
        )


def tick_of(price_e4: int) -> int:
    """The price increment at ``price_e4`` (Reg NMS rule 612)."""
    return TICK_E4 if price_e4 >= E4 else SUB_UNIT_TICK_E4


def on_tick(price_e4: int, *, up: bool) -> int:
    """The nearest valid price increment at or beyond ``price_e4`` (Reg NMS rule 612), at least one."""
    tick = tick_of(price_e4)
    whole = -(-price_e4 // tick) if up else price_e4 // tick
    return max(tick, whole * tick)


def order_of(action: Action, quote: Quote) -> OrderBody | None:
    """The order for an action at this quote; None for a cancel, and where the market shows no price at all."""
    if action.kind is ActionKind.CANCEL:
        return None
    buying = action.side is Side.BUY
    bid = quote.bid_e4 or quote.last_e4 or quote.ask_e4
    ask = quote.ask_e4 or quote.last_e4 or quote.bid_e4
    if not bid:
        return None
    if action.kind in RESTING:
        touch, towards = (bid, -1) if buying else (ask, 1)
    else:
        touch, towards = (ask, 1) if buying else (bid, -1)
    price = on_tick(max(1, touch + towards * action.ticks_away * tick_of(touch)), up=towards > 0)
    body = OrderBody(action.symbol, action.side, OrderType.LIMIT, TimeInForce.DAY, action.qty, price)
    return _spoilt(action.kind, body, ask) if action.kind in WRONG else _shaped(action.kind, body)


def _shaped(kind: ActionKind, body: OrderBody) -> OrderBody:
    if kind is ActionKind.MARKET:
        return OrderBody(body.symbol, body.side, OrderType.MARKET, TimeInForce.IOC, body.qty, None)
    tif = _TIMES.get(kind, TimeInForce.DAY)
    least = body.qty if tif is TimeInForce.FOK else None
    return OrderBody(body.symbol, body.side, OrderType.LIMIT, tif, body.qty, body.limit_price_e4, least)


def _spoilt(kind: ActionKind, body: OrderBody, ask_e4: int) -> OrderBody:
    limit, day = OrderType.LIMIT, TimeInForce.DAY
    if kind is ActionKind.NO_SUCH_SYMBOL:
        return OrderBody(UNKNOWN_SYMBOL, body.side, limit, day, body.qty, body.limit_price_e4)
    if kind is ActionKind.NO_QUANTITY:
        return OrderBody(body.symbol, body.side, limit, day, 0, body.limit_price_e4)
    if kind is ActionKind.OFF_TICK:
        return OrderBody(body.symbol, body.side, limit, day, body.qty, max(E4, on_tick(ask_e4, up=True)) + 1)
    side = Side.BUY if kind is ActionKind.TOO_MUCH_CASH else Side.SELL
    return OrderBody(body.symbol, side, limit, day, TOO_MANY_SHARES, body.limit_price_e4)
