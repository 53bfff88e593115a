"""Accounts that come near to a limit: one warning at each level that an order passes, at the very unit."""

from collections.abc import Callable
from typing import Any

import pytest
from common.checks.case import LimitFields
from common.contracts.values import E4, Side
from common.testing.controls import propose, resolve
from common.testing.orders import ACCOUNT, intent
from risk.domain.gate import Limits
from risk.domain.limit_use import USES

from tests.risk.conftest import Desk


@pytest.fixture
def opened(new_desk: Callable[..., Desk]) -> Callable[..., Desk]:
    def made(**limits: Any) -> Desk:
        desk = new_desk(Limits(**limits))
        desk.open(cash_e4=10**12, shares=100)
        return desk

    return made


def told(desk: Desk) -> list[tuple[str, int, int, int]]:
    """Levels that were passed since it was asked last."""
    found = [(each.limit, each.percent, each.used, each.most) for one in desk.warnings for each in one.crossed]
    desk.warnings.clear()
    return found


def test_position_when_it_grows_then_told_at_each_level_at_the_very_share_and_once(opened: Callable[..., Desk]) -> None:
    desk = opened(position_qty_max=300)
    steps = [(49, []), (1, [50]), (74, []), (1, [75]), (30, [85]), (14, []), (1, [90]), (15, [95]), (15, []), (1, [])]
    for number, (qty, levels) in enumerate(steps):
        decision = desk.decide(intent(f"o{number}", qty=qty))
        assert decision.accepted is (number < len(steps) - 1)
        assert [percent for _, percent, _, _ in told(desk)] == levels, (number, qty)


def test_position_when_an_order_passes_several_levels_then_the_highest_is_told(opened: Callable[..., Desk]) -> None:
    desk = opened(position_qty_max=200)
    desk.send(intent("o1", qty=92))
    assert told(desk) == [("position_qty_max", 95, 192, 200)]


def test_denied_order_and_sell_then_nothing_is_told(opened: Callable[..., Desk]) -> None:
    desk = opened(position_qty_max=200)
    assert not desk.decide(intent("o1", qty=101)).accepted
    assert desk.decide(intent("o2", qty=100, side=Side.SELL)).accepted
    assert told(desk) == []


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"position_notional_max_e4": 14_000 * E4}, ("position_notional_max_e4", 75, 11_000 * E4, 14_000 * E4)),
        ({"exposure_max_e4": 12_000 * E4}, ("exposure_max_e4", 90, 11_000 * E4, 12_000 * E4)),
        ({"open_orders_max": 2}, ("open_orders_max", 50, 1, 2)),
        ({"open_notional_max_e4": 1_250 * E4}, ("open_notional_max_e4", 75, 1_000 * E4, 1_250 * E4)),
        ({"window_orders_max": 1}, ("window_orders_max", 95, 1, 1)),
        ({"window_qty_max": 11}, ("window_qty_max", 90, 10, 11)),
        ({"window_notional_max_e4": 2_000 * E4}, ("window_notional_max_e4", 50, 1_000 * E4, 2_000 * E4)),
        ({"throttle_intents_max": 2}, ("throttle_intents_max", 50, 1, 2)),
    ],
)
def test_each_limit_then_what_is_used_of_it(
    opened: Callable[..., Desk], limits: dict[str, int], wanted: tuple[str, int, int, int]
) -> None:
    desk = opened(**limits)
    desk.send(intent("o1", qty=10))
    assert told(desk) == [wanted]


def test_uses_are_limits_that_there_are() -> None:
    assert set(USES) <= set(LimitFields.__struct_fields__)


def test_warning_says_whose_which_order_and_under_which_limits(opened: Callable[..., Desk]) -> None:
    desk = opened()
    desk.control(propose("p1", ACCOUNT, values={"position_qty_max": 200}))
    desk.control(resolve("a1", "p1", ACCOUNT))
    desk.send(intent("o1", qty=50))
    (warning,) = desk.warnings
    assert (warning.account_id, warning.order_id, warning.symbol) == (ACCOUNT, f"{ACCOUNT}.o1", "ACME")
    assert (warning.firm_limits_version, warning.account_limits_version) == (0, 1)
    assert warning.warned_ns == desk.now_ns
