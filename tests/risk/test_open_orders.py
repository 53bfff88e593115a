"""Prices of open orders: what is kept of them, and what an execution does to it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from common.checks.prices import PROCEEDS_FACTOR, UNKNOWN_QTY
from common.contracts.controls import FIRM
from common.contracts.events import AccountStatus, ExecType, ReasonCode
from common.contracts.values import E4, INT64_MAX, OrderType, Side
from common.testing.controls import propose, resolve
from common.testing.orders import ACCOUNT, SYMBOL, fund, intent, report, trade
from hypothesis import given
from hypothesis import strategies as st
from risk.domain.account import AccountRow, OrderRow, PositionRow
from risk.domain.gate import Limits
from risk.domain.open_orders import (
    LEVEL,
    LEVELS_MAX,
    best_e4,
    open_buy_qty,
    rank_e4,
    with_buy,
    with_price,
    with_total,
    without_price,
    without_total,
)
from risk.tables import TABLES, order_key

CODECS: dict[str, Any] = {table.name: getattr(table, "codec", None) for table in TABLES}
BUY = intent("b1", qty=10, limit_price_e4=100 * E4)
SELL = intent("s1", side=Side.SELL, qty=10, limit_price_e4=101 * E4)


def account(desk: Any) -> AccountRow:
    row = desk.tables.changelogged("accounts").get(ACCOUNT.encode())
    assert isinstance(row, AccountRow)
    return row


# --- levels -------------------------------------------------------------------------------------------------------


@given(
    side=st.sampled_from(Side),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 200)), max_size=200),
)
def test_any_orders_come_and_go_then_no_level_is_worse_than_what_it_counts(
    side: Side, steps: list[tuple[bool, int, int]]
) -> None:
    """And while no more prices are open than levels are kept, the levels are the prices."""
    open_prices: list[int] = []
    kept, merged = b"", False
    for opens, price_e4, at in steps:
        if opens:
            open_prices.append(price_e4)
            kept = with_price(kept, price_e4, side)
        elif open_prices:
            kept = without_price(kept, open_prices.pop(at % len(open_prices)), side)
        merged = bool(open_prices) and (merged or len(set(open_prices)) > LEVELS_MAX)
        levels = list(LEVEL.iter_unpack(kept))
        ranks = [rank for rank, _ in levels]
        counted = [rank for rank, orders in levels for _ in range(orders)]
        wanted = sorted(rank_e4(price, side) for price in open_prices)
        assert ranks == sorted(set(ranks))
        assert len(levels) <= LEVELS_MAX
        assert len(counted) == len(wanted)
        assert all(rank <= price for rank, price in zip(counted, wanted, strict=True))
        if not merged:
            assert levels == sorted(Counter(wanted).items())


def test_more_prices_than_levels_then_the_worst_two_become_one_at_the_better() -> None:
    kept = b""
    for price_e4 in range(LEVELS_MAX + 1):
        kept = with_price(kept, 1_000 - price_e4, Side.BUY)
    assert best_e4(kept) == 1_000
    assert list(LEVEL.iter_unpack(kept))[-1] == (-(1_000 - LEVELS_MAX + 1), 2)
    for price_e4 in range(LEVELS_MAX):
        kept = without_price(kept, 1_000 - price_e4, Side.BUY)
    assert best_e4(kept) == 1_000 - LEVELS_MAX + 1
    assert without_price(kept, 1_000 - LEVELS_MAX, Side.BUY) == b""


# --- shares that are open for a BUY -------------------------------------------------------------------------------


def test_open_buys_when_they_open_fill_end_and_are_taken_back_then_their_shares_are_the_sum(desk: Any) -> None:
    desk.open(cash_e4=100_000 * E4)

    def open_qty() -> int:
        return open_buy_qty(account(desk).buy_prices.get(SYMBOL, b""))

    other = intent("b2", qty=7, limit_price_e4=99 * E4)
    desk.send(BUY)
    desk.send(other)
    assert open_qty() == 17
    desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    assert open_qty() == 13
    desk.send(report(other, ExecType.CANCELED, "x2"))
    assert open_qty() == 6
    desk.send(trade(BUY, "x3", 4, 100 * E4, cum_qty=0, exec_type=ExecType.TRADE_CANCEL, ref_execution_id="x1"))
    assert open_qty() == 10
    desk.send(trade(BUY, "x4", 10, 100 * E4, cum_qty=10))
    assert account(desk).buy_prices == {}


def test_open_buys_of_a_version_without_totals_then_unknown_until_none_is_open_and_a_limit_has_no_room(
    new_desk: Callable[..., Any],
) -> None:
    desk = new_desk(Limits(position_qty_max=1_000))
    desk.open(cash_e4=100_000 * E4)
    desk.send(BUY)
    row = account(desk)
    bare = {symbol: without_total(levels) for symbol, levels in row.buy_prices.items()}
    desk.tables.changelogged("accounts").put(ACCOUNT.encode(), msgspec.structs.replace(row, buy_prices=bare))
    denied = desk.decide(intent("b2"))
    assert (denied.reason, denied.compared["open_buy_qty"]) == ("POSITION_LIMIT_EXCEEDED", UNKNOWN_QTY)
    desk.send(report(BUY, ExecType.CANCELED, "x1"))
    assert desk.decide(intent("b3")).accepted
    assert open_buy_qty(account(desk).buy_prices[SYMBOL]) == 10


def test_levels_without_a_total_when_another_order_opens_then_still_unknown() -> None:
    old = with_price(b"", 5, Side.BUY)
    assert open_buy_qty(with_buy(old, 6, 1)) == open_buy_qty(old) == UNKNOWN_QTY


def test_position_limit_when_open_buys_are_at_it_then_one_share_more_is_denied_and_a_sell_is_not(
    new_desk: Callable[..., Any],
) -> None:
    """Open SELL orders give no room: worst-case side, nothing netted."""
    desk = new_desk(Limits(position_qty_max=30))
    desk.open(cash_e4=100_000 * E4, shares=10)
    assert desk.decide(intent("s1", side=Side.SELL, qty=10, limit_price_e4=101 * E4)).accepted
    assert desk.decide(intent("b1", qty=20)).accepted
    denied = desk.decide(intent("b2", qty=1))
    assert denied.compared == {"qty": 1, "held_qty": 10, "open_buy_qty": 20, "position_qty_max": 30}


# --- self-cross ---------------------------------------------------------------------------------------------------


def test_own_sell_rests_then_a_buy_that_meets_it_is_denied_and_one_below_is_not(desk: Any) -> None:
    desk.open(cash_e4=10_000 * E4, shares=10)
    assert desk.decide(SELL).accepted
    denied = desk.decide(intent("b1", limit_price_e4=101 * E4))
    assert (denied.reason, denied.compared) == (
        ReasonCode.SELF_CROSS,
        {"price_e4": 101 * E4, "crossed_price_e4": 101 * E4},
    )
    assert desk.decide(intent("b2", limit_price_e4=101 * E4 - 100)).accepted
    assert desk.decide(intent("m", order_type=OrderType.MARKET)).reason is ReasonCode.SELF_CROSS


def test_own_buy_rests_then_a_sell_that_meets_it_is_denied_until_the_buy_ends(desk: Any) -> None:
    desk.open(cash_e4=10_000 * E4, shares=10)
    assert desk.decide(BUY).accepted
    assert desk.decide(intent("s1", side=Side.SELL, limit_price_e4=100 * E4)).reason is ReasonCode.SELF_CROSS
    desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    assert desk.decide(intent("s2", side=Side.SELL, limit_price_e4=99 * E4)).reason is ReasonCode.SELF_CROSS
    desk.send(report(BUY, ExecType.CANCELED, "x2", cum_qty=4))
    assert account(desk).buy_prices == {}
    assert desk.decide(intent("s3", side=Side.SELL, limit_price_e4=100 * E4)).accepted


@pytest.mark.parametrize("exec_type", [ExecType.CANCELED, ExecType.REJECTED, ExecType.TRADE])
def test_own_sell_ends_then_its_price_and_its_proceeds_are_gone(desk: Any, exec_type: ExecType) -> None:
    desk.open(cash_e4=10_000 * E4, shares=20)
    desk.send(SELL)
    assert account(desk).pending_cash_e4 == PROCEEDS_FACTOR * 101 * E4 * 10
    traded = trade(SELL, "x1", 10, 101 * E4, cum_qty=10)
    desk.send(traded if exec_type is ExecType.TRADE else report(SELL, exec_type, "x1"))
    assert account(desk).pending_cash_e4 == 0
    assert desk.decide(intent("b1", limit_price_e4=101 * E4)).accepted


def test_orders_of_another_account_or_symbol_then_nothing_is_crossed(desk: Any) -> None:
    desk.open(shares=10)
    desk.open("acct-2", cash_e4=10_000 * E4)
    desk.list_instrument("BETA", 7)
    desk.send(fund(command_id="beta", symbol="BETA", qty=10))
    desk.send(fund(command_id="more", cash_e4=10_000 * E4))
    assert desk.decide(SELL).accepted
    assert desk.decide(intent("b1", "acct-2", limit_price_e4=101 * E4)).accepted
    assert desk.decide(intent("b2", symbol="BETA", limit_price_e4=101 * E4)).accepted


def test_operator_lets_a_symbol_cross_then_accepted_and_still_counted(new_desk: Callable[..., Any]) -> None:
    desk = new_desk(Limits(by_symbol={SYMBOL: Limits(self_cross_denied=False)}))
    desk.open(cash_e4=10_000 * E4, shares=10)
    assert desk.decide(SELL).accepted
    assert desk.decide(intent("b1", limit_price_e4=101 * E4)).accepted
    assert account(desk).buy_prices == {SYMBOL: with_total(LEVEL.pack(-101 * E4, 1), 10)}


@pytest.mark.parametrize("mode", [2, 3])
def test_venue_is_to_keep_own_orders_apart_then_the_decision_says_so_where_they_meet(
    new_desk: Callable[..., Any], mode: int
) -> None:
    desk = new_desk(Limits(self_match_mode=mode))
    desk.open(cash_e4=10_000 * E4, shares=10)
    assert desk.decide(SELL).compared == {}
    met = desk.decide(intent("b1", limit_price_e4=101 * E4))
    assert (met.accepted, met.reserved_cash_e4) == (True, 1_010 * E4)
    assert met.compared == {"crossed_price_e4": 101 * E4, "self_match_mode": mode}
    assert desk.decide(intent("b1", limit_price_e4=101 * E4)).compared == met.compared  # asked again
    assert desk.decide(intent("b2", limit_price_e4=101 * E4 - 100)).compared == {}
    assert account(desk).buy_prices[SYMBOL][:16] == LEVEL.pack(-101 * E4, 1)


def test_modes_of_account_and_symbol_then_the_one_that_lets_less_happen(desk: Any) -> None:
    desk.open(cash_e4=10_000 * E4, shares=10)
    desk.send(SELL)
    for number, (of, mode, accepted) in enumerate((((FIRM, SYMBOL), 3, True), ((ACCOUNT, None), 1, False))):
        desk.control(propose(f"p{number}", of[0], symbol=of[1], values={"self_match_mode": mode}))
        desk.control(resolve(f"r{number}", f"p{number}", of[0]))
        assert desk.decide(intent(f"b{number}", limit_price_e4=101 * E4)).accepted is accepted


# --- headroom -----------------------------------------------------------------------------------------------------


def test_cash_at_the_brim_then_sells_are_accepted_only_while_all_of_them_fit_together(desk: Any) -> None:
    """Each alone would fit; the second would not beside the first."""
    one_e4 = PROCEEDS_FACTOR * 101 * E4 * 10
    desk.open(cash_e4=INT64_MAX - 2 * one_e4 + 1, shares=30)
    assert desk.decide(SELL).accepted
    second = desk.decide(intent("s2", side=Side.SELL, limit_price_e4=101 * E4))
    assert (second.reason, second.compared) == (
        ReasonCode.HEADROOM_INSUFFICIENT,
        {
            "proceeds_max_e4": one_e4,
            "held_cash_e4": INT64_MAX - 2 * one_e4 + 1,
            "pending_cash_e4": one_e4,
            "cash_max_e4": INT64_MAX,
        },
    )
    desk.send(report(SELL, ExecType.CANCELED, "x1"))
    assert desk.decide(intent("s3", side=Side.SELL, limit_price_e4=101 * E4)).accepted


def test_sell_filled_at_the_most_it_may_bring_then_booked(desk: Any) -> None:
    desk.open(cash_e4=INT64_MAX - PROCEEDS_FACTOR * 101 * E4 * 10, shares=10)
    assert desk.decide(SELL).accepted
    desk.send(trade(SELL, "x1", 10, PROCEEDS_FACTOR * 101 * E4, cum_qty=10))
    assert account(desk) == AccountRow(AccountStatus.ACTIVE, INT64_MAX, 0, 4)


def test_shares_at_the_brim_then_buys_are_accepted_only_while_all_of_them_fit_together(desk: Any) -> None:
    desk.open(cash_e4=10_000 * E4, shares=INT64_MAX - 10_000_005)
    assert desk.decide(intent("b1", qty=5, limit_price_e4=100 * E4)).accepted  # 5,000,000 of cash for 5 shares
    assert desk.decide(intent("b2", qty=5, limit_price_e4=100 * E4)).accepted
    third = desk.decide(intent("b3", qty=6, limit_price_e4=100 * E4))
    assert (third.reason, third.compared) == (
        ReasonCode.HEADROOM_INSUFFICIENT,
        {"qty": 6, "held_qty": INT64_MAX - 10_000_005, "reserved_cash_e4": 10_000_000, "qty_max": INT64_MAX},
    )
    assert desk.decide(intent("b4", qty=5, limit_price_e4=100 * E4)).accepted


def test_fund_beside_open_orders_then_denied_where_they_might_not_fit(desk: Any) -> None:
    pending_e4 = PROCEEDS_FACTOR * 101 * E4 * 10
    desk.open(cash_e4=10_000 * E4, shares=10)
    desk.send(SELL)
    desk.send(intent("b1", qty=1, limit_price_e4=100 * E4))
    too_much = desk.command(fund(command_id="f1", cash_e4=INT64_MAX - 10_000 * E4 - pending_e4 + 1))
    assert (too_much.reason, too_much.compared) == (
        ReasonCode.HEADROOM_INSUFFICIENT,
        {
            "cash_e4": INT64_MAX - 10_000 * E4 - pending_e4 + 1,
            "held_cash_e4": 10_000 * E4,
            "pending_cash_e4": pending_e4,
            "cash_max_e4": INT64_MAX,
        },
    )
    too_many = desk.command(fund(command_id="f2", symbol=SYMBOL, qty=INT64_MAX - 10 - 100 * E4 + 1))
    assert (too_many.reason, too_many.compared) == (
        ReasonCode.HEADROOM_INSUFFICIENT,
        {
            "qty": INT64_MAX - 10 - 100 * E4 + 1,
            "held_qty": 10,
            "reserved_cash_e4": 100 * E4,
            "qty_max": INT64_MAX,
        },
    )
    assert desk.command(fund(command_id="f3", cash_e4=INT64_MAX - 10_000 * E4 - pending_e4)).accepted
    assert desk.command(fund(command_id="f4", symbol=SYMBOL, qty=INT64_MAX - 10 - 100 * E4)).accepted


# --- rows of an earlier version -----------------------------------------------------------------------------------


def shortened(table: str, row: msgspec.Struct, fields: int) -> Any:
    """The row as a version wrote it that had only so many fields."""
    codec = CODECS[table]
    return codec.decode(msgspec.msgpack.encode(msgspec.msgpack.decode(codec.encode(row))[:fields]))


def test_rows_without_the_new_fields_then_read_and_their_orders_end_uncounted(desk: Any) -> None:
    desk.open(cash_e4=10_000 * E4, shares=20)
    old_buy, old_sell = intent("b0", limit_price_e4=97 * E4), intent("s0", side=Side.SELL, limit_price_e4=102 * E4)
    desk.send(old_buy)
    desk.send(old_sell)
    tables = desk.tables
    old_account = shortened("accounts", account(desk), 4)
    assert old_account == AccountRow(AccountStatus.ACTIVE, 10_000 * E4, 970 * E4, 4)
    tables.changelogged("accounts").put(ACCOUNT.encode(), old_account)
    positions = tables.changelogged("positions")
    for key, row in list(positions.prefix(b"")):
        positions.put(key, shortened("positions", row, 2))
        assert positions.get(key) == PositionRow(20, 10)
    for order in (old_buy, old_sell):
        key = order_key(f"{ACCOUNT}.{order.client_order_id}")
        ordered: OrderRow = tables.changelogged("orders").get(key)
        assert ordered.counted
        tables.changelogged("orders").put(key, shortened("orders", ordered, 16))
    desk.send(SELL)
    desk.send(BUY)
    desk.send(report(old_sell, ExecType.CANCELED, "x1"))
    desk.send(trade(old_buy, "x2", 10, 97 * E4, cum_qty=10))
    assert account(desk).buy_prices == {SYMBOL: with_total(LEVEL.pack(-100 * E4, 1), 10)}
    assert account(desk).pending_cash_e4 == PROCEEDS_FACTOR * 101 * E4 * 10
