"""The gate's checks: each reason with its numbers, their order, and the price a MARKET order is held to."""

from typing import Any

import pytest
from common.checks.reasons import OF_CONTROLS, denials
from common.contracts.events import AccountStatus, OrderIntent, ReasonCode
from common.contracts.values import E4, INT64_MAX, Side
from common.testing.orders import NOW_NS, instrument, intent
from risk.domain.account import AccountRow, PositionRow
from risk.domain.gate import LIMITS_VERSIONS, AccountState, Limits, Market, Verdict, decide, listed

from tests.risk.control_denials import CONTROL_DENIALS
from tests.risk.gate_denials import DENIALS, FUNDED, LOTS, SECOND_NS, mark, market
from tests.risk.term_denials import TERM_DENIALS


def decided(order: OrderIntent, account: AccountState, market: Market, limits: Limits | None = None) -> Verdict:
    return decide(order, account, listed(market, (limits or Limits()).of(order.symbol)), NOW_NS)


def denied(
    order: OrderIntent, account: AccountState, market: Market, limits: Limits | None = None
) -> tuple[str, dict[str, int]]:
    verdict = decided(order, account, market, limits)
    assert verdict.denial is not None
    assert (verdict.price_e4, verdict.reserved_cash_e4, verdict.reserved_qty) == (0, 0, 0)
    return verdict.denial.reason, verdict.denial.compared


EVERY_DENIAL = DENIALS | CONTROL_DENIALS | TERM_DENIALS


@pytest.mark.parametrize("case", EVERY_DENIAL)
def test_rule_broken_then_denied_with_its_numbers(case: str) -> None:
    fields, account, of, limits, reason, compared = EVERY_DENIAL[case]
    assert denied(intent(**fields), account, of, limits) == (reason, compared)


def test_every_reason_of_the_gate_is_covered() -> None:
    elsewhere = {
        ReasonCode.DUPLICATE_ID,
        ReasonCode.COMMAND_INVALID,
        ReasonCode.BREAK_UNKNOWN,
        ReasonCode.BREAK_RESOLVED,
        *(each.reason for each in OF_CONTROLS),
    } - {ReasonCode.ACCOUNT_UNKNOWN}
    said = {str(each.reason) for each in denials()} | set(map(str, ReasonCode))
    assert {str(reason) for *_, reason, _ in EVERY_DENIAL.values()} == said - elsewhere


def test_numbers_of_a_denial_are_those_that_are_documented() -> None:
    documented = {(str(each.reason), number) for each in denials() for number in each.numbers}
    for *_, reason, compared in EVERY_DENIAL.values():
        assert {(str(reason), number) for number in compared.keys() - set(LIMITS_VERSIONS)} <= documented


def test_several_rules_broken_then_the_first_in_order_speaks() -> None:
    """Everything is wrong at once; mending the named thing uncovers the next one."""
    wrong = {"side": Side.SELL, "qty": -1, "limit_price_e4": None}
    large = {**wrong, "qty": 1_000_000}
    nobody = AccountState(None, None)
    suspended = AccountState(AccountRow(AccountStatus.SUSPENDED), None)
    poor = AccountState(AccountRow(AccountStatus.ACTIVE), None)
    full = AccountState(AccountRow(AccountStatus.ACTIVE, INT64_MAX), PositionRow(100), 100 * E4)
    stale = mark(clock_ns=0)
    halted = Market(LOTS, stale, ord("H"))
    unhalted = Market(LOTS, stale, ord("T"))
    fresh = Market(LOTS, mark(), ord("T"))
    steps: list[tuple[dict[str, Any], AccountState, Market, ReasonCode]] = [
        (wrong, nobody, Market(None, None), ReasonCode.ACCOUNT_UNKNOWN),
        (wrong, suspended, Market(None, None), ReasonCode.ACCOUNT_INACTIVE),
        (wrong, poor, Market(None, None), ReasonCode.INSTRUMENT_UNKNOWN),
        (wrong, poor, halted, ReasonCode.INSTRUMENT_HALTED),
        (wrong, poor, unhalted, ReasonCode.MARK_STALE),
        (wrong, poor, fresh, ReasonCode.QTY_NOT_POSITIVE),
        ({**wrong, "qty": 1}, poor, fresh, ReasonCode.QTY_OFF_LOT),
        ({**wrong, "qty": INT64_MAX // 100 * 100}, poor, fresh, ReasonCode.QTY_TOO_LARGE),
        (large, poor, fresh, ReasonCode.PRICE_MISSING),
        ({**large, "limit_price_e4": -3}, poor, fresh, ReasonCode.PRICE_NOT_POSITIVE),
        ({**large, "limit_price_e4": 10_001}, poor, fresh, ReasonCode.PRICE_OFF_TICK),
        ({**large, "limit_price_e4": 10_100}, poor, fresh, ReasonCode.PRICE_OUTSIDE_COLLAR),
        ({**large, "limit_price_e4": 100 * E4}, poor, fresh, ReasonCode.NOTIONAL_TOO_LARGE),
        ({**large, "qty": 100, "limit_price_e4": 100 * E4}, poor, fresh, ReasonCode.POSITION_INSUFFICIENT),
        ({**large, "qty": 100, "limit_price_e4": 100 * E4}, full, fresh, ReasonCode.SELF_CROSS),
        ({**large, "qty": 100, "limit_price_e4": 101 * E4}, full, fresh, ReasonCode.HEADROOM_INSUFFICIENT),
    ]
    for fields, account, of, reason in steps:
        assert denied(intent(**fields), account, of)[0] is reason


@pytest.mark.parametrize("clock_ns", [NOW_NS - 5 * SECOND_NS, NOW_NS, NOW_NS + 5 * SECOND_NS])
def test_clock_within_the_age_limit_then_accepted(clock_ns: int) -> None:
    assert decided(intent(), FUNDED, market(clock_ns=clock_ns)).denial is None


def test_state_never_said_and_operator_lets_it_trade_then_accepted() -> None:
    unsaid = Market(instrument(), mark(), 0)
    assert decided(intent(), FUNDED, unsaid, Limits(unsaid_state_trades=True)).denial is None
