"""Losses of an account: measured from its own day and its highest, money in and out aside, and unknown is a denial."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.events import ExecType
from common.contracts.values import E4, INT64_MAX, Side
from common.testing.orders import ACCOUNT, NOW_NS, fund, intent, trade, withdraw
from risk.domain.equity import DAY_NS, UNKNOWN_E4, EquityRow, Losses, carried, equity_e4, losses, with_flow
from risk.domain.gate import Limits

from tests.risk.conftest import Desk

SELL: dict[str, Any] = {"side": Side.SELL, "limit_price_e4": 90 * E4, "qty": 1}
BUY: dict[str, Any] = {"limit_price_e4": 80 * E4, "qty": 1}


class Trading:
    """An account of 1,000 shares at 99.00, and 10,000.00 in cash."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.open(cash_e4=10_000 * E4, shares=1_000)
        self.names = 0

    def bid(self, units: int, **fields: Any) -> None:
        self.desk.mark(bid_e4=units * E4, ask_e4=101 * E4, ingest_ns=self.desk.now_ns, **fields)
        self.desk.tick()

    def __call__(self, **fields: Any) -> str | None:
        """Why the order is denied."""
        self.names += 1
        return self.desk.decide(intent(f"o{self.names}", **fields)).reason


@pytest.fixture
def trading(new_desk: Callable[..., Desk]) -> Callable[..., Trading]:
    return lambda **limits: Trading(new_desk(Limits(limit_collar_bps=9_000, **limits)))


def test_loss_of_the_day_when_at_the_limit_then_buys_denied_and_sells_not_until_it_is_won_back_or_the_day_ends(
    trading: Callable[..., Trading],
) -> None:
    trade_ = trading(daily_loss_max_e4=2_000 * E4)
    assert trade_(**BUY) is None
    trade_.bid(98)
    assert trade_(**BUY) is None
    trade_.bid(97)
    assert [trade_(**BUY), trade_(**SELL)] == ["LOSS_LIMIT_REACHED", None]
    trade_.bid(98)
    assert trade_(**BUY) is None
    trade_.bid(97)
    trade_.desk.now_ns += DAY_NS
    trade_.bid(97)
    assert trade_(**BUY) is None


def test_drawdown_when_at_the_limit_then_counted_from_the_highest_across_days(trading: Callable[..., Trading]) -> None:
    trade_ = trading(drawdown_max_e4=2_000 * E4)
    for bid, reason in ((99, None), (100, None), (99, None), (98, "DRAWDOWN_LIMIT_REACHED")):
        trade_.bid(bid)
        assert trade_(**BUY) == reason
    trade_.desk.now_ns += DAY_NS
    trade_.bid(98)
    assert trade_(**BUY) == "DRAWDOWN_LIMIT_REACHED"


def test_money_and_shares_that_come_in_and_go_out_then_neither_won_nor_lost(trading: Callable[..., Trading]) -> None:
    trade_ = trading(daily_loss_max_e4=E4)
    assert trade_(**BUY) is None
    trade_.desk.send(withdraw(command_id="w", cash_e4=5_000 * E4))
    assert trade_(**BUY) is None
    trade_.desk.send(fund(command_id="f", cash_e4=4_000 * E4, symbol="ACME", qty=50))
    trade_.bid(98)
    assert trade_(**BUY) == "LOSS_LIMIT_REACHED", "what came in hides no loss"
    denied = trade_.desk.command(withdraw(command_id="w2", cash_e4=INT64_MAX))
    assert not denied.accepted
    trade_.bid(99)
    assert trade_(**BUY) is None


def test_fill_above_the_bid_then_lost_what_it_cost(trading: Callable[..., Trading]) -> None:
    trade_ = trading(daily_loss_max_e4=20 * E4)
    order = intent("b", qty=10, limit_price_e4=101 * E4)
    trade_.desk.send(order)
    trade_.desk.send(trade(order, "x", 9, 101 * E4, cum_qty=9, exec_type=ExecType.TRADE))
    assert trade_(**BUY) is None
    trade_.desk.send(trade(order, "y", 1, 101 * E4, cum_qty=10))
    assert trade_(**BUY) == "LOSS_LIMIT_REACHED"


def test_something_held_without_a_price_or_a_fresh_one_then_unknown_and_denied(trading: Callable[..., Trading]) -> None:
    trade_ = trading(daily_loss_max_e4=10**15)
    trade_.desk.list_instrument("BETA", 9, bid_e4=0)
    trade_.desk.send(fund(command_id="f", symbol="BETA", qty=1))
    decision = trade_.desk.decide(intent("o", **BUY))
    assert (decision.reason, decision.compared["loss_e4"]) == ("LOSS_LIMIT_REACHED", UNKNOWN_E4)
    trade_.desk.mark("BETA", bid_e4=E4)
    assert trade_(**BUY) is None


def test_shares_of_an_unknown_price_when_they_come_in_then_denied_until_the_next_day(
    trading: Callable[..., Trading],
) -> None:
    trade_ = trading(daily_loss_max_e4=10**15)
    assert trade_(**BUY) is None
    trade_.desk.list_instrument("BETA", 9, bid_e4=0)
    trade_.desk.send(fund(command_id="f", symbol="BETA", qty=1))
    trade_.desk.mark("BETA", bid_e4=E4)
    assert trade_(**BUY) == "LOSS_LIMIT_REACHED"
    trade_.desk.now_ns += DAY_NS
    trade_.bid(99)
    trade_.desk.mark("BETA", bid_e4=E4, ingest_ns=trade_.desk.now_ns)
    assert trade_(**BUY) is None


def test_account_when_nothing_asks_for_its_losses_then_nothing_is_kept(trading: Callable[..., Trading]) -> None:
    trade_ = trading(open_orders_max=5)
    assert trade_(**BUY) is None
    assert trade_.desk.tables.changelogged("equity").get(ACCOUNT.encode()) is None


def test_worth_when_beyond_64_bits_or_unpriced_then_unknown() -> None:
    assert equity_e4(5, [(2, 3)]) == 11
    assert equity_e4(5, [(2, 3), (1, 0)]) == UNKNOWN_E4
    assert equity_e4(INT64_MAX - 1, [(1, 1)]) == equity_e4(5, [(INT64_MAX, INT64_MAX)]) == UNKNOWN_E4


def test_row_when_carried_on_then_the_day_and_the_highest() -> None:
    day = NOW_NS // DAY_NS
    row = EquityRow(day, 100, 120)
    assert carried(None, UNKNOWN_E4, NOW_NS) is None
    assert carried(row, UNKNOWN_E4, NOW_NS) == row
    assert carried(None, 7, NOW_NS) == EquityRow(day, 7, 7)
    assert carried(row, 130, NOW_NS) == EquityRow(day, 100, 130)
    assert carried(row, 90, NOW_NS + DAY_NS) == EquityRow(day + 1, 90, 120)
    assert carried(row, 90, NOW_NS - DAY_NS) == row, "a clock that goes back begins no day"
    assert losses(row, 130) == Losses(0, -10)
    assert losses(row, 90) == Losses(10, 30)
    assert losses(row, UNKNOWN_E4) == losses(None, 5) == Losses(UNKNOWN_E4, UNKNOWN_E4)
    unknown = with_flow(row, UNKNOWN_E4)
    assert with_flow(unknown, 5) == unknown == with_flow(row, UNKNOWN_E4 - 1)
    assert carried(unknown, 5, NOW_NS) == unknown
    assert carried(unknown, 5, NOW_NS + DAY_NS) == EquityRow(day + 1, 5, 5)
