"""Limits on what an account did lately: exact at their bounds, alike in both paths, and bounded in memory."""

from collections.abc import Callable
from typing import Any

import pytest
from common.checks.controls import BODIES_MAX
from common.contracts.events import ExecType, OrderIntent, ReasonCode
from common.contracts.values import E4, INT64_MAX, OrderType, Side
from common.testing.orders import ACCOUNT, intent, report
from hypothesis import given, settings
from hypothesis import strategies as st
from risk import stages
from risk.domain.activity import SPANS, ActivityRow, Done, recent_intents, recent_orders, with_done
from risk.domain.gate import Limits

from tests.risk.conftest import Desk
from tests.risk.test_runs import intents_of, plain, same_both_ways, value_of

SECOND_NS = 1_000_000_000
BY_SYMBOL: dict[str, dict[str, Any]] = {
    "LOTS": {"price_band_bps": 100, "open_orders_max": 2},
    "DEAR": {"reduce_only": True},
    "ONE.SIDED": {"restricted": True},
    "OTHER.SIDE": {"volume_share_bps": 5, "average_volume_qty": 100_000},
}


def limited(**some: Any) -> Limits:
    return Limits(**some, by_symbol={symbol: Limits(**{**some, **own}) for symbol, own in BY_SYMBOL.items()})


# --- both paths ---------------------------------------------------------------------------------------------------


def at_most(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from((0, 0, 1, 2, most))


any_limits = st.builds(
    limited,
    window_orders_max=at_most(5),
    window_qty_max=at_most(300),
    window_notional_max_e4=at_most(10_000 * E4),
    throttle_intents_max=at_most(4),
    duplicate_ns=st.sampled_from((0, 1, SECOND_NS // 2, SECOND_NS)),
    duplicates_max=st.sampled_from((1, 1, 2, 3)),
    halt_on_repeats=st.sampled_from((False, False, True)),
    halt_at_limits=st.sampled_from((False, False, True)),
    open_orders_max=at_most(4),
    open_notional_max_e4=at_most(20_000 * E4),
    exposure_max_e4=at_most(200_000 * E4),
    position_qty_max=at_most(1_300),
    position_notional_max_e4=at_most(110_000 * E4),
)
few = st.builds(
    lambda number, side, qty: intent(f"o{number}", "rich", side=side, qty=qty, limit_price_e4=100 * E4),
    st.integers(0, 10**6),
    st.sampled_from((Side.BUY, Side.BUY, Side.SELL)),
    st.sampled_from((1, 2, 50)),
)
batches = st.lists(st.lists(few | few | few | plain, max_size=20), min_size=1, max_size=4)


@settings(deadline=None, max_examples=120)
@given(limits=any_limits, some=batches, every_ns=st.sampled_from((0, 1, SECOND_NS // 16, SECOND_NS // 3, SECOND_NS)))
def test_run_when_recent_orders_are_limited_then_answered_as_one_by_one(
    limits: Limits, some: list[list[OrderIntent]], every_ns: int
) -> None:
    runs = [intents_of(map(value_of, orders), 100 * number + 101) for number, orders in enumerate(some)]
    same_both_ways(*runs, limits=limits, every_ns=every_ns)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RUN_MIN", 2)


# --- at the bounds ------------------------------------------------------------------------------------------------


class Sending:
    """One account sends orders of one share."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.open(cash_e4=10**12, shares=1_000)

    def __call__(self, client_order_id: str, after_ns: int = 0, **fields: Any) -> str | None:
        """Why it is denied."""
        self.desk.now_ns += after_ns
        self.desk.tick()
        return self.desk.decide(intent(client_order_id, **{"qty": 1, **fields})).reason

    def row(self) -> ActivityRow | None:
        row: ActivityRow | None = self.desk.tables.changelogged("activity").get(ACCOUNT.encode())
        return row


@pytest.fixture
def sending(new_desk: Callable[..., Desk]) -> Callable[..., Sending]:
    return lambda **limits: Sending(new_desk(Limits(**limits)))


def test_orders_in_the_period_when_at_the_limit_then_one_more_denied_until_the_first_is_as_old_as_the_period(
    sending: Callable[..., Sending],
) -> None:
    send = sending(window_orders_max=2, window_ns=SECOND_NS)
    assert [send("o1"), send("o2"), send("o3")] == [None, None, "WINDOW_LIMIT_EXCEEDED"]
    assert send("o4", SECOND_NS - 1) == "WINDOW_LIMIT_EXCEEDED"
    assert send("o5", 1) is None


def test_shares_and_notional_in_the_period_when_at_the_limit_then_one_share_more_denied(
    sending: Callable[..., Sending],
) -> None:
    send = sending(window_qty_max=10, window_ns=SECOND_NS)
    assert [send("o1", qty=4), send("o2", qty=7), send("o3", qty=6)] == [None, "WINDOW_LIMIT_EXCEEDED", None]
    send = sending(window_notional_max_e4=1_000 * E4, window_ns=SECOND_NS)
    assert [send("o1", qty=4), send("o2", qty=7), send("o3", qty=6)] == [None, "WINDOW_LIMIT_EXCEEDED", None]


def test_throttle_counts_denials_and_each_symbol_for_itself_and_no_cancel(sending: Callable[..., Sending]) -> None:
    send = sending(throttle_intents_max=2, throttle_ns=SECOND_NS)
    send.desk.list_instrument("OTHER", 4)
    assert [send("o1", qty=-1), send("o2"), send("o3")] == [
        ReasonCode.QTY_NOT_POSITIVE, None, "INTENTS_THROTTLED",
    ]  # fmt: skip
    assert send("o4", symbol="OTHER") is None
    send.desk.send(report(intent("o2", qty=1), ExecType.CANCELED, "x1"))
    assert send("o5", SECOND_NS - 1) == "INTENTS_THROTTLED"
    assert send("o6", SECOND_NS) is None


def test_body_when_accepted_a_moment_ago_under_another_id_then_denied_and_after_it_accepted(
    sending: Callable[..., Sending],
) -> None:
    send = sending(duplicate_ns=SECOND_NS)
    assert send("o1") is None
    assert send("o1") is None, "the same id is a repeat"
    assert send("o2", SECOND_NS - 1) == "DUPLICATE_ORDER"
    assert send("o3", qty=2) is None
    assert send("o4", 1) is None


def test_body_when_denied_then_sent_again_under_another_id_then_no_duplicate(sending: Callable[..., Sending]) -> None:
    send = sending(duplicate_ns=SECOND_NS, window_orders_max=1, window_ns=SECOND_NS // 2)
    assert [send("o1", qty=3), send("o2")] == [None, "WINDOW_LIMIT_EXCEEDED"]
    assert send("o3", SECOND_NS // 2) is None


def test_body_when_sent_as_often_as_it_may_be_then_denied_until_the_first_is_as_old_as_the_period(
    sending: Callable[..., Sending],
) -> None:
    """Three within a second: at the limit, one over it, and one nanosecond on either side of the period."""
    send = sending(duplicate_ns=SECOND_NS, duplicates_max=3)
    assert [send("o1"), send("o2", 10), send("o3", 10)] == [None, None, None]
    assert send("o4", SECOND_NS - 21) == "DUPLICATE_ORDER"
    assert send.desk.decisions[-1].compared["duplicates_max"] == 3
    assert send("other", qty=2) is None
    assert send("o5", 1) is None
    assert send("o6", 9) == "DUPLICATE_ORDER"
    assert send("o7", 1) is None


def test_bodies_when_as_many_as_are_remembered_then_denied_and_not_forgotten(sending: Callable[..., Sending]) -> None:
    send = sending(duplicate_ns=SECOND_NS, self_cross_denied=False)
    for number in range(BODIES_MAX):
        assert send(f"o{number}", limit_price_e4=50 * E4 + number * 100) is None
    assert send("more", limit_price_e4=60 * E4 + 100 * BODIES_MAX) == "WINDOW_LIMIT_EXCEEDED"
    assert send("twin", limit_price_e4=50 * E4) == "DUPLICATE_ORDER"
    assert send("later", SECOND_NS, limit_price_e4=50 * E4) is None


def test_open_orders_when_one_ends_then_another_has_its_place(sending: Callable[..., Sending]) -> None:
    send = sending(open_orders_max=2, self_cross_denied=False)
    sell: dict[str, Any] = {"side": Side.SELL, "limit_price_e4": 101 * E4}
    assert [send("o1"), send("o2", **sell), send("o3")] == [None, None, "OPEN_ORDERS_EXCEEDED"]
    assert send("m1", order_type=OrderType.MARKET) == "OPEN_ORDERS_EXCEEDED"
    send.desk.send(report(intent("o2", qty=1, **sell), ExecType.CANCELED, "x1"))
    assert send("o4") is None


def test_account_when_nothing_asks_for_its_orders_then_nothing_is_remembered(sending: Callable[..., Sending]) -> None:
    send = sending(exposure_max_e4=10**12, open_notional_max_e4=10**12)
    assert send("o1") is None
    assert send.row() is None


def test_reference_when_as_old_as_the_limit_then_accepted_and_one_nanosecond_older_denied_until_it_changes(
    sending: Callable[..., Sending],
) -> None:
    """By the exchange's clock: ours is as far as that of the partition."""
    send = sending(reference_age_max_ns=SECOND_NS)
    assert send("o1", SECOND_NS) is None
    assert send("o2", 1) == "REFERENCE_STALE"
    send.desk.mark(ingest_ns=send.desk.now_ns)
    assert send("o3") is None


# --- memory -------------------------------------------------------------------------------------------------------

events = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from("AB"), st.booleans(), st.sampled_from((1, 5, INT64_MAX))),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(some=events)
def test_any_orders_then_never_fewer_are_counted_than_there_were_and_the_row_is_bounded(some: Any) -> None:
    """And none that is older than the period and a sixteenth of it."""
    limits = Limits(window_ns=1_600, throttle_ns=1_600)
    row, now_ns, done = ActivityRow(), 10**6, []
    for after_ns, symbol, accepted, qty in some:
        now_ns += after_ns
        amounts = (1, qty, qty) if accepted else (0, 0, 0)
        row = with_done(row, Done({symbol: 1}, *amounts), limits, now_ns)
        done.append((now_ns, symbol, *amounts))
    orders, qty_counted, notional_counted_e4, _ = recent_orders(row, limits, now_ns)
    young = [each for each in done if each[0] > now_ns - 1_600]
    old_too = [each for each in done if each[0] > now_ns - 1_700]
    assert sum(each[2] for each in young) <= orders <= sum(each[2] for each in old_too)
    least, most = (min(sum(each[3] for each in some), INT64_MAX) for some in (young, old_too))
    assert least <= qty_counted <= most
    assert qty_counted == notional_counted_e4
    for symbol in "AB":
        counted = recent_intents(row, symbol, limits, now_ns)
        assert sum(each[1] == symbol for each in young) <= counted <= sum(each[1] == symbol for each in old_too)
        assert len(row.sent.get(symbol, ())) <= SPANS + 1
    assert len(row.spans) <= SPANS + 1
