"""A venue in miniature: orders trade against the displayed best bid and offer, and rest in price-time priority.

Pure functions on values. What was taken from a displayed size counts until the next mark of the symbol: no share of a
mark is sold twice. Client orders never meet each other; the other side is always the market's.
"""

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final, NamedTuple

from common.contracts.events import ExecType, ExecutionReport, VenueCancel, VenueOrder
from common.contracts.market import MARK, Marks
from common.contracts.twins import alike, twin_of
from common.contracts.values import IMMEDIATE, INT64_MAX, OrderType, Side, TimeInForce

REPORT_TWIN: Final = twin_of(ExecutionReport)
DAY_NS: Final = 86_400_000_000_000
CANCELED_BELOW_MINIMUM: Final = "fewer shares than its minimum within the limit"
CANCELED_AS_NEWEST: Final = "self-match prevention: the newest order is canceled"
CANCELED_AS_OLDEST: Final = "self-match prevention: the oldest order is canceled"
TRADING_STATES: Final = frozenset({0, ord("T")})
"""Trading, or never told otherwise."""


class Mark(NamedTuple):
    """A symbol's best bid and offer, where in its partition of ``md.marks`` it stands, and its time at the exchange."""

    offset: int
    trading_state: int
    bid_e4: int
    bid_size: int
    ask_e4: int
    ask_size: int
    event_ns: int = 0


NO_MARK: Final = Mark(-1, 0, 0, 0, 0, 0)


_MARK_FIELDS: Final = itemgetter(*((MARK.names or ()).index(name) for name in Mark._fields[1:]))
"""One ``item()`` and a pick is nearly twice as fast as the fields of a numpy row one by one."""


def mark_of(row: Marks, offset: int) -> Mark:
    """Reads the one row of a record of ``md.marks``."""
    return Mark(offset, *_MARK_FIELDS(row[0].item()))


@dataclass(frozen=True, slots=True)
class Market:
    """The newest mark that was used, and what client orders have taken of its sizes."""

    mark: Mark = NO_MARK
    taken_bid: int = 0
    taken_ask: int = 0

    @property
    def trading(self) -> bool:
        return self.mark.trading_state in TRADING_STATES

    @property
    def untouched(self) -> bool:
        return not self.taken_bid and not self.taken_ask

    def moved_to(self, mark: Mark) -> "Market":
        """A newer mark shows fresh sizes; an older one changes nothing."""
        return Market(mark) if mark.offset > self.mark.offset else self

    def against(self, side: Side) -> tuple[int, int]:
        """Price and shares that an order of ``side`` can have; (0, 0) where there is nothing."""
        if side is Side.BUY:
            price_e4, size = self.mark.ask_e4, self.mark.ask_size - self.taken_ask
        else:
            price_e4, size = self.mark.bid_e4, self.mark.bid_size - self.taken_bid
        return (price_e4, size) if self.trading and price_e4 > 0 and size > 0 else (0, 0)

    def crossed_by(self, side: Side, limit_price_e4: int) -> bool:
        """Whether an order at this limit can trade now."""
        price_e4, size = self.against(side)
        if not size:
            return False
        return limit_price_e4 >= price_e4 if side is Side.BUY else limit_price_e4 <= price_e4

    def less(self, side: Side, qty: int) -> "Market":
        """The market after an order of ``side`` took ``qty`` shares."""
        if side is Side.BUY:
            return Market(self.mark, self.taken_bid, self.taken_ask + qty)
        return Market(self.mark, self.taken_bid + qty, self.taken_ask)


@dataclass(frozen=True, slots=True)
class Working:
    """An order at the venue. ``reports`` counts what was said about it; ``sequence`` is its time priority.

    ``close_ns`` is the end of the session for which it came, by the exchange's time; 0 where that time was not known
    then. A DAY order ends at it, or without it a day after ``accepted_ns``, by the venue's own clock.
    """

    order: VenueOrder
    sequence: int
    cum_qty: int = 0
    reports: int = 0
    open: bool = True
    close_ns: int = 0
    accepted_ns: int = 0

    @property
    def leaves_qty(self) -> int:
        return self.order.qty - self.cum_qty if self.open else 0

    @property
    def rests(self) -> bool:
        """Whether what cannot trade at once stays in the book."""
        return self.order.time_in_force not in IMMEDIATE and self.order.order_type is OrderType.LIMIT

    @property
    def ends_with_session(self) -> bool:
        return self.order.time_in_force is TimeInForce.DAY

    @property
    def least_qty(self) -> int:
        """Shares that its next trade has to have: of the first one its minimum, all of it of a FOK."""
        if self.cum_qty:
            return 1
        return self.order.qty if self.order.time_in_force is TimeInForce.FOK else self.order.min_qty or 1

    def has_expired(self, event_ns: int, now_ns: int) -> bool:
        """Whether its time is over at this time of the exchange; of the venue, for a DAY order without a session."""
        if not self.ends_with_session:
            return self.order.expire_ns is not None and event_ns >= self.order.expire_ns
        if self.close_ns:
            return event_ns >= self.close_ns
        return 0 < self.accepted_ns <= now_ns - DAY_NS


@dataclass(frozen=True, slots=True)
class SymbolBook:
    """The venue's book of a symbol. ``best_*_e4`` are limits of resting orders, 0 where a side is empty."""

    market: Market = Market()
    next_sequence: int = 1
    resting: int = 0
    best_buy_e4: int = 0
    best_sell_e4: int = 0

    def best(self, side: Side) -> int:
        return self.best_buy_e4 if side is Side.BUY else self.best_sell_e4

    def with_best(self, side: Side, limit_price_e4: int) -> "SymbolBook":
        if side is Side.BUY:
            return replace(self, best_buy_e4=limit_price_e4)
        return replace(self, best_sell_e4=limit_price_e4)

    def joined_by(self, side: Side, limit_price_e4: int) -> "SymbolBook":
        """The book after an order came to rest."""
        best_e4, better = self.best(side), max if side is Side.BUY else min
        best_e4 = better(best_e4, limit_price_e4) if best_e4 else limit_price_e4
        return replace(self.with_best(side, best_e4), resting=self.resting + 1)

    def crossed_sides(self) -> tuple[Side, ...]:
        """Sides of which at least the best resting order can trade."""
        return tuple(side for side in Side if self.best(side) and self.market.crossed_by(side, self.best(side)))


def accept(order: VenueOrder, sequence: int, now_ns: int, close_ns: int = 0) -> tuple[Working, ExecutionReport]:
    """The venue takes the order, a DAY order until ``close_ns``. Raises ValueError for a quantity or price that is not
    positive, and for terms that contradict each other.
    """
    if order.qty <= 0 or order.limit_price_e4 <= 0:
        raise ValueError(f"order {order.order_id} of {order.qty} shares at {order.limit_price_e4}")
    time = order.time_in_force
    if (time is TimeInForce.GTD) != (order.expire_ns is not None):
        raise ValueError(f"order {order.order_id}: {time} until {order.expire_ns}")
    if order.min_qty is not None and time not in IMMEDIATE:
        raise ValueError(f"order {order.order_id}: {order.min_qty} shares at once, and the rest may rest as {time}")
    return _reported(Working(order, sequence, close_ns=close_ns, accepted_ns=now_ns), ExecType.NEW, now_ns)


def trade(working: Working, market: Market, now_ns: int) -> tuple[Working, Market, ExecutionReport | None]:
    """Trades as much as price and displayed size allow; no report where that is nothing or less than its minimum, or
    its time is over.
    """
    order = working.order
    if not market.crossed_by(order.side, order.limit_price_e4) or not working.leaves_qty:
        return working, market, None
    if working.has_expired(market.mark.event_ns, now_ns):
        return working, market, None
    price_e4, size = market.against(order.side)
    qty = min(size, working.leaves_qty)
    if qty < working.least_qty:
        return working, market, None
    cum_qty = working.cum_qty + qty
    filled, report = _reported(
        replace(working, cum_qty=cum_qty, open=cum_qty < order.qty),
        ExecType.TRADE,
        now_ns,
        last_qty=qty,
        last_price_e4=price_e4,
    )
    return filled, market.less(order.side, qty), report


def cancel(working: Working, now_ns: int, text: str = "") -> tuple[Working, ExecutionReport]:
    """Ends what is open."""
    return _reported(replace(working, open=False), ExecType.CANCELED, now_ns, text=text)


def expire(working: Working, now_ns: int) -> tuple[Working, ExecutionReport]:
    """Ends what is open of an order with its session, or at the time that it says."""
    text = "the session has ended" if working.ends_with_session else "its time has come"
    return _reported(replace(working, open=False), ExecType.EXPIRED, now_ns, text=text)


def refuse_cancel(working: Working, now_ns: int) -> tuple[Working, ExecutionReport]:
    """The order had ended before the request came."""
    return _reported(working, ExecType.CANCEL_REJECTED, now_ns, text="nothing is open at the venue")


def refuse_unknown(request: VenueCancel, place: str, now_ns: int) -> ExecutionReport:
    """No such order. The report's id comes from the request's ``place`` in the log, so that a replay says the same."""
    return ExecutionReport(
        execution_id=f"{request.order_id}.unknown-{place}",
        exec_type=ExecType.CANCEL_REJECTED,
        order_id=request.order_id,
        account_id=request.account_id,
        symbol=request.symbol,
        side=request.side,
        venue_ns=now_ns,
        text="the venue knows no such order",
    )


class Arrival(NamedTuple):
    """The order after its arrival, the book of its symbol then, and what was said of it, in order."""

    working: Working
    book: SymbolBook
    reports: tuple[ExecutionReport, ...]

    @property
    def rests(self) -> bool:
        return self.working.open


def arrive(order: VenueOrder, book: SymbolBook, now_ns: int, close_ns: int) -> Arrival:
    """The order is accepted, trades, and what is left of it rests in the book or ends.

    Whoever rests has been served by the book's mark. Raises ValueError as ``accept``.
    """
    accepted, acknowledged = accept(order, book.next_sequence, now_ns, close_ns)
    working, market, traded = trade(accepted, book.market, now_ns)
    reports = (acknowledged,) if traded is None else (acknowledged, traded)
    after = SymbolBook(market, book.next_sequence + 1, book.resting, book.best_buy_e4, book.best_sell_e4)
    if working.open and working.rests:
        return Arrival(working, after.joined_by(order.side, order.limit_price_e4), reports)
    if working.open:
        working, canceled = cancel(working, now_ns, why_not_filled(working, market))
        reports = (*reports, canceled)
    return Arrival(working, after, reports)


def arrive_late(order: VenueOrder, book: SymbolBook, now_ns: int) -> Arrival:
    """A GTD order whose time has come on its way: it is accepted, trades nothing and expires. Raises as ``accept``."""
    accepted, acknowledged = accept(order, book.next_sequence, now_ns)
    working, expired = expire(accepted, now_ns)
    return Arrival(working, replace(book, next_sequence=book.next_sequence + 1), (acknowledged, expired))


def stopped_by_own(order: VenueOrder, book: SymbolBook, own_e4: int, now_ns: int, close_ns: int) -> Arrival:
    """An arriving order whose rest is canceled before it meets the account's own at ``own_e4``.

    It trades what the market shows at a better price than that: its own order would be the next in line.
    """
    accepted, acknowledged = accept(order, book.next_sequence, now_ns, close_ns)
    price_e4, _ = book.market.against(order.side)
    working, market, traded = accepted, book.market, None
    if price_e4 and (price_e4 < own_e4 if order.side is Side.BUY else price_e4 > own_e4):
        working, market, traded = trade(accepted, book.market, now_ns)
    reports = (acknowledged,) if traded is None else (acknowledged, traded)
    if working.open:
        working, canceled = cancel(working, now_ns, CANCELED_AS_NEWEST)
        reports = (*reports, canceled)
    return Arrival(working, replace(book, market=market, next_sequence=book.next_sequence + 1), reports)


def meets(order: VenueOrder, limit_price_e4: int) -> bool:
    """Whether an order of the other side at this limit would trade with it."""
    if order.side is Side.BUY:
        return limit_price_e4 <= order.limit_price_e4
    return limit_price_e4 >= order.limit_price_e4


def other_side(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY


def why_not_filled(working: Working, market: Market) -> str:
    """The text of a cancel by the venue itself."""
    if not market.trading:
        return "symbol is not trading"
    order, (_, size) = working.order, market.against(working.order.side)
    if size < working.least_qty and market.crossed_by(order.side, order.limit_price_e4):
        return CANCELED_BELOW_MINIMUM
    return "no more liquidity within the limit"


def expiry_key(expire_ns: int, order_id: str) -> bytes:
    """Sorts by time: who expires first comes first."""
    return expire_ns.to_bytes(8, "big") + order_id.encode()


def expires_by(key: bytes, event_ns: int) -> bool:
    """Whether the order of an ``expiry_key`` has expired at this time of the exchange."""
    return int.from_bytes(key[:8], "big") <= event_ns


def priority_prefix(symbol: str, side: Side) -> bytes:
    """Begins the key of every resting order of one side of a symbol."""
    return symbol.encode() + b"\0" + side.value.encode()


def priority_key(symbol: str, side: Side, limit_price_e4: int, sequence: int) -> bytes:
    """Sorts as the venue serves: best price first, then time."""
    price_rank = INT64_MAX - limit_price_e4 if side is Side.BUY else limit_price_e4
    return priority_prefix(symbol, side) + price_rank.to_bytes(8, "big") + sequence.to_bytes(8, "big")


def limit_of(key: bytes, side: Side) -> int:
    """The limit price in a ``priority_key``."""
    price_rank = int.from_bytes(key[-16:-8], "big")
    return INT64_MAX - price_rank if side is Side.BUY else price_rank


def _reported(
    working: Working,
    exec_type: ExecType,
    now_ns: int,
    *,
    last_qty: int = 0,
    last_price_e4: int = 0,
    text: str = "",
) -> tuple[Working, ExecutionReport]:
    """A twin where the order is one."""
    order = working.order
    said = Working(
        order,
        working.sequence,
        working.cum_qty,
        working.reports + 1,
        working.open,
        working.close_ns,
        working.accepted_ns,
    )
    make = alike(order, ExecutionReport, REPORT_TWIN)
    report = make(
        execution_id=f"{order.order_id}.{said.reports}",
        exec_type=exec_type,
        order_id=order.order_id,
        account_id=order.account_id,
        symbol=order.symbol,
        side=order.side,
        last_qty=last_qty,
        last_price_e4=last_price_e4,
        cum_qty=said.cum_qty,
        leaves_qty=said.leaves_qty,
        venue_ns=now_ns,
        text=text,
    )
    return said, report
