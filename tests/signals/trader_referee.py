"""Sessions of accounts by definition, from all events of orders at once; and events that might be on the log."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from common.contracts.events import OrderEvent, OrderState
from common.contracts.trader_sessions import LateOrderEvent, TraderSession
from common.contracts.values import OrderType, Side, TimeInForce
from hypothesis import strategies as st

S = 1_000_000_000
BEGIN_NS = 1_700_000_000 * S
ENDED = (OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED)
Sessions = dict[tuple[str, int, int], TraderSession]
"""Account, gap and start → the session."""


def newest(records: Iterable[Any]) -> Sessions:
    """The sessions that hold of all records, as a reader finds them."""
    found: Sessions = {}
    for each in records:
        if isinstance(each, TraderSession):
            name = (each.account_id, each.gap_ns, each.start_ns)
            if name not in found or each.revision > found[name].revision:
                found[name] = each
    return {name: each for name, each in found.items() if each.events}


def late_of(events: Sequence[OrderEvent], lateness_ns: int) -> list[LateOrderEvent]:
    """Events that are in no session, in the order in which they come."""
    found, newest_ns = [], 0
    for each in events:
        newest_ns = max(newest_ns, each.updated_ns)
        if newest_ns - each.updated_ns > lateness_ns:
            late = LateOrderEvent(
                account_id=each.account_id,
                order_id=each.order_id,
                order_revision=each.revision,
                event_ns=each.updated_ns,
                newest_ns=newest_ns,
            )
            found.append(late)
    return found


def sessions_of(events: Sequence[OrderEvent], gaps_ns: Iterable[int], lateness_ns: int) -> Sessions:
    """The events that are not late of each account, in the order of time, cut where a gap is."""
    late = {(each.order_id, each.order_revision) for each in late_of(events, lateness_ns)}
    histories: dict[str, list[OrderEvent]] = {}
    for each in events:
        histories.setdefault(each.order_id, []).append(each)
    found: Sessions = {}
    for gap_ns in gaps_ns:
        for account_id in {each.account_id for each in events}:
            told = [e for e in events if e.account_id == account_id and (e.order_id, e.revision) not in late]
            parts: list[list[OrderEvent]] = []
            for each in sorted(told, key=lambda event: event.updated_ns):
                if not parts or each.updated_ns - parts[-1][-1].updated_ns >= gap_ns:
                    parts.append([])
                parts[-1].append(each)
            for part in parts:
                session = _session(part, gap_ns, histories)
                found[account_id, gap_ns, session.start_ns] = session
    return found


def _session(part: Sequence[OrderEvent], gap_ns: int, histories: dict[str, list[OrderEvent]]) -> TraderSession:
    steps = [(before, each) for each in part if (before := _before(each, histories)) is not None]
    firsts = [each for each in part if each.revision == 1]
    accepted = [each for each in firsts if each.state is not OrderState.DENIED]
    ends = {state: [e for before, e in steps if e.state is state is not before.state] for state in ENDED}
    money = {
        side: sum(each.notional_e4 - before.notional_e4 for before, each in steps if each.side is side) for side in Side
    }
    return TraderSession(
        account_id=part[0].account_id,
        gap_ns=gap_ns,
        start_ns=part[0].updated_ns,
        end_ns=part[-1].updated_ns + gap_ns,
        revision=len(part),
        events=len(part),
        orders=len(accepted),
        denied=len(firsts) - len(accepted),
        fills=sum(each.cum_qty > before.cum_qty for before, each in steps),
        busts=sum(each.cum_qty < before.cum_qty for before, each in steps),
        canceled=len(ends[OrderState.CANCELED]),
        rejected=len(ends[OrderState.REJECTED]),
        expired=len(ends[OrderState.EXPIRED]),
        ordered_qty=sum(each.qty for each in accepted),
        filled_qty=sum(each.cum_qty - before.cum_qty for before, each in steps),
        canceled_qty=sum(each.qty - each.cum_qty for each in ends[OrderState.CANCELED]),
        bought_e4=money[Side.BUY],
        sold_e4=money[Side.SELL],
    )


def _before(event: OrderEvent, histories: dict[str, list[OrderEvent]]) -> OrderEvent | None:
    return next((each for each in histories[event.order_id] if each.revision == event.revision - 1), None)


# --- events -------------------------------------------------------------------------------------------------------


class Act(NamedTuple):
    """Something happens to an order."""

    account: int
    order: int
    state: OrderState
    qty: int
    """Executed more (positive), or less, where the order exists."""
    after_s: int
    """Seconds since what happened before it."""
    behind_s: int
    """By how much the clock that says so is behind."""


def acts(*, behind_s_max: int, size: int = 40) -> st.SearchStrategy[list[Act]]:
    """A history of orders of three accounts."""
    states = st.sampled_from([state for state in OrderState if state is not OrderState.FILLED])
    behind_s = st.just(0) | st.integers(0, behind_s_max)
    act = st.builds(
        Act,
        st.integers(0, 2),
        st.integers(0, 3),
        states,
        st.integers(-3, 6),
        st.sampled_from((0, 1, 4, 9, 30)),
        behind_s,
    )
    return st.lists(act, min_size=1, max_size=size)


def first(account_id: str, order: int, at_ns: int, *, denied: bool = False, qty: int = 10) -> OrderEvent:
    """An order begins."""
    return OrderEvent(
        order_id=f"{account_id}.{order}",
        account_id=account_id,
        client_order_id=str(order),
        symbol="ACME",
        instrument_id=0,
        side=Side.SELL if order % 2 else Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        qty=qty,
        limit_price_e4=1_000_000,
        state=OrderState.DENIED if denied else OrderState.ACCEPTED,
        leaves_qty=0 if denied else qty,
        revision=1,
        sent_ns=at_ns,
        updated_ns=at_ns,
    )


def after(event: OrderEvent, at_ns: int, **changes: Any) -> OrderEvent:
    """The next event of the order."""
    return event.model_copy(update={"revision": event.revision + 1, "updated_ns": at_ns} | changes)


def events_of(listed: Iterable[Act]) -> list[OrderEvent]:
    """In the order in which they come. An order begins with the first that happens to it, and never leaves its end."""
    orders: dict[tuple[int, int], OrderEvent] = {}
    found, clock_ns = [], BEGIN_NS
    for account, order, state, qty, after_s, behind_s in listed:
        clock_ns += after_s * S
        at_ns, name = clock_ns - behind_s * S, (account, order)
        before = orders.get(name)
        if before is None:
            event = first(f"acct-{account}", order, at_ns, denied=state is OrderState.DENIED)
        else:
            cum_qty = max(0, min(before.qty, before.cum_qty + qty))
            more_e4 = (cum_qty - before.cum_qty) * 1_000_000
            ended = before.state in (*ENDED, OrderState.DENIED) or state is OrderState.DENIED
            event = after(
                before,
                at_ns,
                state=before.state if ended else state,
                cum_qty=cum_qty,
                notional_e4=before.notional_e4 + more_e4,
            )
        orders[name] = event
        found.append(event)
    return found
