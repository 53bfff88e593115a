"""Verdicts under other limits: those of a gate that had them, where the account is the same."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.values import E4
from common.testing.orders import intent
from risk.calibration import Change, Scenario, UnknownLosses, calibrated
from risk.domain.gate import GATE, Limits

from tests.risk.conftest import Desk
from tests.risk.test_reexecution import again

OFFER_E4 = 101 * E4


def changes(desk: Desk, *scenarios: Scenario) -> list[Change]:
    return [each for _, changed in calibrated(again(desk), scenarios, GATE) for each in changed]


def words(found: list[Change]) -> list[tuple[str, str, str]]:
    return [
        (
            each.scenario.name,
            each.executed.said.client_order_id,
            "passes" if each.verdict.denial is None else str(each.verdict.denial.reason),
        )
        for each in found
    ]


@pytest.fixture
def traded(new_desk: Callable[..., Any]) -> Desk:
    """An offer of 101: one order within 3 per cent, one within 5, one within 10, and one beyond that."""
    desk: Desk = new_desk(Limits())
    desk.open(cash_e4=100_000 * E4)
    for number, price in enumerate((104, 106, 111, 112)):
        desk.decide(intent(f"o{number}", qty=1, limit_price_e4=price * E4))
    return desk


def test_collars_then_each_lists_the_orders_beyond_it_and_no_others(traded: Desk) -> None:
    found = changes(traded, *(Scenario(f"{bps}", {"limit_collar_bps": bps}) for bps in (300, 500, 1_000, 1_200)))
    beyond = "PRICE_OUTSIDE_COLLAR"
    assert sorted(words(found)) == sorted(
        [("300", "o1", beyond), ("300", "o2", beyond), ("500", "o2", beyond), ("1200", "o3", "passes")]
    )


@pytest.mark.parametrize(("most", "denied"), [(3, []), (2, ["o2"])])
def test_limit_that_nobody_had_set_then_counted_from_the_orders_before(
    new_desk: Callable[..., Any], most: int, denied: list[str]
) -> None:
    """At the limit, and one over it."""
    desk = new_desk(Limits())
    desk.open(cash_e4=100_000 * E4)
    for number in range(3):
        desk.decide(intent(f"o{number}", qty=1))
    found = changes(desk, Scenario("few", {"window_orders_max": most}))
    assert [each.executed.said.client_order_id for each in found] == denied


def test_scenario_when_a_gate_had_those_limits_then_the_same_denials_with_the_same_numbers(
    new_desk: Callable[..., Any],
) -> None:
    """Only denials follow, so that both accounts stay the same."""
    values: dict[str, Any] = {"order_qty_max": 3, "price_band_bps": 200, "limit_collar_bps": 100}
    lenient, strict = new_desk(Limits()), new_desk(Limits(**values))
    for desk in (lenient, strict):
        desk.open(cash_e4=100_000 * E4)
        for number in range(60):
            desk.decide(intent(f"o{number}", qty=number % 5, limit_price_e4=(98 + number % 13) * E4))
    found = {each.executed.said.order_id: each.verdict.denial for each in changes(lenient, Scenario("strict", values))}
    wanted = {
        each.order_id: (each.reason, each.compared)
        for each in strict.decisions
        if each.reason is not None and each.order_id in found
    }
    assert {name: (denial.reason, denial.compared) for name, denial in found.items() if denial} == wanted
    assert len(found) > 10


@pytest.mark.parametrize("values", [{"no_such_limit": 1}, {"limit_collar_bps": 10_000}, {"order_qty_max": 0}])
def test_scenario_of_no_limit_then_refused_by_name(traded: Desk, values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        changes(traded, Scenario("wrong", values))


def test_scenario_of_losses_that_nobody_asked_for_then_refused(traded: Desk) -> None:
    with pytest.raises(UnknownLosses):
        changes(traded, Scenario("losses", {"daily_loss_max_e4": 1}))


def test_scenario_of_losses_that_were_asked_for_then_judged_by_them(new_desk: Callable[..., Any]) -> None:
    desk = new_desk(Limits(daily_loss_max_e4=500 * E4))
    desk.open(cash_e4=100_000 * E4, shares=100)
    desk.decide(intent("before", qty=1))
    desk.mark(bid_e4=98 * E4)
    desk.decide(intent("after", qty=1))
    assert words(changes(desk, Scenario("less", {"daily_loss_max_e4": 100 * E4}))) == [
        ("less", "after", "LOSS_LIMIT_REACHED")
    ]
