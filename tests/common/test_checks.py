"""The tuple of checks: both paths made from it say the same of any case, and nothing in it leaves 64 bits."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from common.checks import gate
from common.checks.case import (
    AccountFields,
    ActivityFields,
    Case,
    LimitFields,
    MarketFields,
    OrderFields,
    PositionFields,
    row_of,
)
from common.checks.check import Check, CheckChain, check
from common.checks.controls import BODIES_MAX
from common.checks.gate import CHECKS
from common.checks.installed import CheckUnavailable, gate_of, installed
from common.checks.prices import BEYOND_64_BITS
from common.checks.reasons import denials, meanings
from common.contracts.events import ReasonCode
from common.contracts.values import E4, INT64_MAX
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.common.any_case import NOW_NS, Draw

CHAIN = CheckChain(CHECKS)
KINDS: tuple[type[msgspec.Struct], ...] = (
    OrderFields, AccountFields, PositionFields, MarketFields, LimitFields, ActivityFields,
)  # fmt: skip


# --- integers of 64 bits ------------------------------------------------------------------------------------------


class Int64(int):
    """An integer that refuses to leave 64 bits, and so does whatever is made of it."""


def _bounded(name: str) -> Callable[..., Any]:
    operate = getattr(int, name)

    def bounded(*operands: int) -> Any:
        made = operate(*operands)
        if made is NotImplemented:
            return made
        if not -(2**63) <= made < 2**63:
            raise OverflowError(f"{name.strip('_')} of {operands} is {made}")
        return Int64(made)

    return bounded


for operation in ("add", "sub", "mul", "floordiv", "mod", "pow", "lshift"):
    setattr(Int64, f"__{operation}__", _bounded(f"__{operation}__"))
    setattr(Int64, f"__r{operation}__", _bounded(f"__r{operation}__"))
for operation in ("neg", "abs", "pos", "invert"):
    setattr(Int64, f"__{operation}__", _bounded(f"__{operation}__"))


def as_int64(case: Case) -> Case:
    """The same case, of integers that refuse to overflow."""

    def bounded(fields: Any) -> Any:
        values = msgspec.structs.astuple(fields)
        return type(fields)(*(each if isinstance(each, bool) else Int64(each) for each in values))

    *structs, now_ns, activity = case
    return Case._make([*map(bounded, structs), Int64(now_ns), bounded(activity)])


# --- both paths ---------------------------------------------------------------------------------------------------


def compiled_path(chain: CheckChain) -> Callable[[list[Case]], list[int]]:
    """The chain as kernels have it: over rows."""
    from common.compiled_checks import compiled
    from common.kernels import outlined

    first_failing = compiled(chain)

    @outlined
    def each(orders, accounts, positions, markets, limits, activities, now_ns, failed):  # type: ignore[no-untyped-def]
        for i in range(failed.size):
            case = Case(orders[i], accounts[i], positions[i], markets[i], limits[i], now_ns, activities[i])
            failed[i] = first_failing(case)

    def run(some: list[Case]) -> list[int]:
        columns = []
        parts = zip(*((*case[:5], case.activity) for case in some), strict=True)
        for kind, fields in zip(KINDS, parts, strict=True):
            columns.append(np.array([msgspec.structs.astuple(each) for each in fields], row_of(kind)))
        failed = np.zeros(len(some), np.int64)
        each(*columns, NOW_NS, failed)
        return [int(number) for number in failed]

    return run


@pytest.fixture(scope="module")
def on_rows() -> Callable[[list[Case]], list[int]]:
    return compiled_path(CHAIN)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_any_cases_then_both_paths_name_the_same_check_and_no_step_leaves_64_bits(on_rows: Any, seed: int) -> None:
    """Whatever the compiled path would wrap, the readable one refuses here; what a denial compares can be said."""
    draw = Draw(seed)
    some = [draw.case() for _ in range(1_000)]
    for case, number in zip(some, on_rows(some), strict=True):
        assert CHAIN.first_failing(as_int64(case)) == number, case
        if number < CHAIN.passed:
            denying = CHAIN.checks[number]
            assert set(denying.compared(case)) <= set(denying.numbers)


def test_cases_that_are_drawn_then_every_check_denies_some_and_some_pass(on_rows: Any) -> None:
    """So the test above says something of each."""
    draw = Draw(1)
    assert set(on_rows([draw.case() for _ in range(20_000)])) == set(range(CHAIN.passed + 1))


def passing() -> Case:
    """A LIMIT BUY that every check lets pass."""
    return Case(
        OrderFields(qty=10, limit_price_e4=100 * E4, priced=True),
        AccountFields(True, True, 10_000 * E4),
        PositionFields(qty=10),
        MarketFields(
            known=True, marked=True, trading_state=ord("T"), clock_ns=NOW_NS, bid_e4=99 * E4, ask_e4=101 * E4,
            last_e4=100 * E4, lot_qty=1, tick_e4=100, sub_unit_tick_e4=1, buy_price_e4=106 * E4,
            sell_price_e4=94 * E4, buy_bound_e4=111 * E4, sell_bound_e4=89 * E4, band_high_e4=110 * E4,
            band_low_e4=90 * E4,
        ),
        LimitFields(),
        NOW_NS,
    )  # fmt: skip


def steps(activity: str, limit: str, at: int, beyond: int, bound: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The account did ``at``, and ``beyond``, where the operator lets it do ``bound``."""
    return (
        {f"activity.{activity}": at, f"limits.{limit}": bound},
        {f"activity.{activity}": beyond, f"limits.{limit}": bound},
    )


SELL = {"order.sell": True}
BAND = {"limits.price_band_bps": 1_000}
SHARE = {"limits.volume_share_bps": 33}
TWIN = {"limits.duplicate_ns": 10**9}
MARKET = {"order.is_market": True, "order.priced": False, "order.limit_price_e4": 0}
AT_THE_LIMIT: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "account_known": [({}, {"account.known": False})],
    "account_active": [({}, {"account.active": False})],
    "instrument_known": [({}, {"market.known": False})],
    "symbol_unrestricted": [({}, {"limits.restricted": True})],
    "intents_not_throttled": [
        steps("intents", "throttle_intents_max", 2, 3, 3),
        ({"activity.intents": INT64_MAX}, {"activity.intents": 1, "limits.throttle_intents_max": 1}),
    ],
    "instrument_trading": [
        ({}, {"market.trading_state": ord("H")}),
        ({"market.trading_state": 0, "limits.unsaid_state_trades": True}, {"market.trading_state": 0}),
    ],
    "mark_present": [({}, {"market.marked": False})],
    "mark_fresh": [
        ({"market.clock_ns": NOW_NS - 5 * 10**9}, {"market.clock_ns": NOW_NS - 5 * 10**9 - 1}),
        ({"market.clock_ns": NOW_NS + 5 * 10**9}, {"market.clock_ns": NOW_NS + 5 * 10**9 + 1}),
    ],
    "qty_positive": [({"order.qty": 1}, {"order.qty": 0})],
    "qty_on_lot": [({"order.qty": 20, "market.lot_qty": 20}, {"order.qty": 21, "market.lot_qty": 20})],
    "qty_bounded": [({"limits.order_qty_max": 10}, {"limits.order_qty_max": 9})],
    "volume_share_bounded": [
        (SHARE | {"market.volume_qty_max": 10}, SHARE | {"market.volume_qty_max": 9}),
        ({}, SHARE),
    ],
    "reduces_only": [(SELL | {"limits.reduce_only": True}, {"limits.reduce_only": True})],
    "limit_has_price": [({}, {"order.priced": False})],
    "market_has_none": [(MARKET, MARKET | {"order.priced": True})],
    "side_quoted": [
        (MARKET | {"market.ask_e4": 1}, MARKET | {"market.ask_e4": 0}),
        (MARKET | SELL | {"market.bid_e4": 1}, MARKET | SELL | {"market.bid_e4": 0}),
    ],
    "price_positive": [({"order.limit_price_e4": 1}, {"order.limit_price_e4": 0})],
    "price_on_tick": [
        ({"order.limit_price_e4": 10_000}, {"order.limit_price_e4": 10_001}),
        ({"order.limit_price_e4": 9_999}, {"order.limit_price_e4": 9_999, "market.sub_unit_tick_e4": 2}),
    ],
    "price_bound_known": [
        ({"market.ask_e4": 0}, {"market.buy_bound_e4": 0}),
        (SELL, SELL | {"market.sell_bound_e4": 0}),
    ],
    "price_in_collar": [
        ({"market.buy_bound_e4": 100 * E4}, {"market.buy_bound_e4": 100 * E4 - 1}),
        (SELL | {"market.sell_bound_e4": 100 * E4}, SELL | {"market.sell_bound_e4": 100 * E4 + 1}),
    ],
    "price_in_band": [
        (BAND | {"market.band_high_e4": 100 * E4}, BAND | {"market.band_high_e4": 100 * E4 - 1}),
        (BAND | SELL | {"market.band_low_e4": 100 * E4}, BAND | SELL | {"market.band_low_e4": 100 * E4 + 1}),
        (BAND, BAND | {"market.last_e4": 0}),
        (BAND | SELL, BAND | SELL | {"market.last_e4": 0}),
    ],
    "notional_bounded": [
        ({"limits.order_notional_max_e4": 1_000 * E4}, {"limits.order_notional_max_e4": 1_000 * E4 - 1}),
        (MARKET, MARKET | {"market.buy_price_e4": BEYOND_64_BITS}),
    ],
    "cash_sufficient": [
        ({"account.reserved_cash_e4": 9_000 * E4}, {"account.reserved_cash_e4": 9_000 * E4 + 1}),
        (SELL | {"account.cash_e4": 0}, {"account.cash_e4": 0}),
    ],
    "shares_sufficient": [(SELL, SELL | {"position.reserved_qty": 1})],
    "crosses_nothing_own": [
        ({"position.open_sell_price_e4": 100 * E4 + 1}, {"position.open_sell_price_e4": 100 * E4}),
        (SELL | {"position.open_buy_price_e4": 100 * E4 - 1}, SELL | {"position.open_buy_price_e4": 100 * E4}),
        ({"position.open_sell_price_e4": 1, "limits.self_cross_denied": False}, {"position.open_sell_price_e4": 1}),
    ],
    "shares_have_room": [({"position.qty": INT64_MAX - 10}, {"position.qty": INT64_MAX - 9})],
    "cash_has_room": [
        (
            SELL | {"account.cash_e4": INT64_MAX - 100 * 1_000 * E4 - 7, "account.pending_cash_e4": 7},
            SELL | {"account.cash_e4": INT64_MAX - 100 * 1_000 * E4 - 7, "account.pending_cash_e4": 8},
        )
    ],
    "exposure_bounded": [
        ({"limits.exposure_max_e4": 2_000 * E4}, {"limits.exposure_max_e4": 2_000 * E4 - 1}),
        (
            {"limits.exposure_max_e4": 2_000 * E4 + 1, "account.reserved_cash_e4": 1},
            {"limits.exposure_max_e4": 2_000 * E4, "account.reserved_cash_e4": 1},
        ),
        (SELL | {"limits.exposure_max_e4": 1}, {"limits.exposure_max_e4": 1}),
    ],
    "open_orders_bounded": [steps("open_orders", "open_orders_max", 2, 3, 3)],
    "open_notional_bounded": [
        ({"limits.open_notional_max_e4": 1_000 * E4}, {"limits.open_notional_max_e4": 1_000 * E4 - 1}),
        (
            SELL | {"limits.open_notional_max_e4": 1_001 * E4, "account.pending_cash_e4": 100 * E4},
            SELL | {"limits.open_notional_max_e4": 1_001 * E4, "account.pending_cash_e4": 100 * (E4 + 1)},
        ),
        ({}, {"limits.open_notional_max_e4": 1, "account.reserved_cash_e4": 2}),
    ],
    "window_orders_bounded": [steps("orders", "window_orders_max", 2, 3, 3)],
    "window_qty_bounded": [
        steps("qty", "window_qty_max", 90, 91, 100),
        ({"activity.qty": INT64_MAX}, {"activity.qty": INT64_MAX, "limits.window_qty_max": 1}),
    ],
    "window_notional_bounded": [steps("notional_e4", "window_notional_max_e4", 5, 6, 1_000 * E4 + 5)],
    "no_recent_twin": [
        (TWIN | {"activity.twin_ns": NOW_NS - 10**9}, TWIN | {"activity.twin_ns": NOW_NS - 10**9 + 1}),
        (TWIN, TWIN | {"activity.twin_ns": NOW_NS}),
    ],
    "twins_can_be_found": [steps("bodies", "duplicate_ns", BODIES_MAX - 1, BODIES_MAX, 1)],
}
"""By check: what it lets pass at its limit, and what it denies one step beyond."""


def but(changes: dict[str, Any]) -> Case:
    """The passing case with some fields changed, each named by what has it."""
    parts = passing()._asdict()
    for name, value in changes.items():
        part, field = name.split(".")
        parts[part] = msgspec.structs.replace(parts[part], **{field: value})
    return Case(**parts)


def test_every_check_has_a_limit_that_is_tried() -> None:
    assert list(AT_THE_LIMIT) == [each.name for each in CHECKS]


def test_case_at_the_limit_of_a_check_then_passed_and_one_beyond_denied_by_it_on_both_paths(on_rows: Any) -> None:
    for name, pairs in AT_THE_LIMIT.items():
        number = [each.name for each in CHECKS].index(name)
        for at, beyond in pairs:
            both = [but(at), but(beyond)]
            assert [CHAIN.first_failing(case) for case in both] == [CHAIN.passed, number], (name, at, beyond)
            assert on_rows(both) == [CHAIN.passed, number], (name, at, beyond)


def test_checks_when_a_product_comes_before_its_bound_then_the_overflow_is_found() -> None:
    """So the test above can fail: cash is asked for before the notional is known to fit."""
    early = CheckChain((gate.cash_sufficient, *(each for each in CHECKS if each is not gate.cash_sufficient)))
    huge = but({"order.qty": INT64_MAX, "order.limit_price_e4": 200})
    assert CHAIN.first_failing(as_int64(huge)) < CHAIN.passed
    with pytest.raises(OverflowError):
        early.first_failing(as_int64(huge))


# --- declarations -------------------------------------------------------------------------------------------------


def test_rows_have_the_fields_of_the_structs_in_their_order() -> None:
    for kind in KINDS:
        assert row_of(kind).names == tuple(field.name for field in msgspec.structs.fields(kind))
        assert np.array([msgspec.structs.astuple(kind())], row_of(kind)).tolist() == [msgspec.structs.astuple(kind())]


def test_row_when_a_field_is_no_number_then_refused() -> None:
    class Named(msgspec.Struct):
        symbol: str

    with pytest.raises(KeyError):
        row_of(Named)


def test_chain_when_two_checks_have_one_name_then_refused() -> None:
    with pytest.raises(ValueError, match="qty_positive"):
        CheckChain((*CHECKS, replace(gate.qty_on_lot, name="qty_positive")))


def test_every_reason_has_a_meaning() -> None:
    assert set(meanings()) == set(ReasonCode) | {each.reason for each in CHECKS}


@pytest.mark.parametrize("reason", ["lower_case", "ONEWORD", "", "SPACE D", "_LEADING"])
def test_check_when_its_reason_is_no_code_then_refused(reason: str) -> None:
    with pytest.raises(ValueError, match=re_of(reason)):
        check(reason, "means nothing")


def re_of(reason: str) -> str:
    return f"{reason!r} is not a valid ReasonCode"


@pytest.mark.parametrize("name", [code.value for code in ReasonCode] + ["A_CODE_OF_ANOTHER_RELEASE"])
def test_reason_when_written_then_read_as_it_was(name: str) -> None:
    for read in (
        ReasonCode(name),
        msgspec.json.decode(msgspec.json.encode(ReasonCode(name)), type=ReasonCode),
        msgspec.msgpack.decode(msgspec.msgpack.encode(ReasonCode(name)), type=ReasonCode),
    ):
        assert (read.value, f"{read}", read == name) == (name, name, True)
    assert "A_CODE_OF_ANOTHER_RELEASE" not in ReasonCode.__members__


def test_gate_when_no_check_is_asked_for_then_it_is_the_tuple() -> None:
    assert gate_of().checks == CHECKS


def test_check_when_not_installed_then_refused_with_what_is() -> None:
    with pytest.raises(CheckUnavailable, match="'no_such' is installed 0 times"):
        installed(["no_such"])


def test_denials_then_in_the_order_in_which_an_order_meets_them() -> None:
    named: Iterator[str] = (each.check for each in denials() if each.check)
    assert list(named) == [each.name for each in CHECKS]


def test_fingerprint_when_a_check_or_what_it_calls_is_another_then_another() -> None:
    from common.compiled_checks import fingerprint

    def local(case: Case) -> bool:
        return case.order.qty > 1

    own: Check = check("QTY_ODD_NUMBER", "of a test")(local)
    whole = fingerprint(CHAIN)
    assert whole is not None
    assert whole == fingerprint(CheckChain(CHECKS))
    assert len({whole, fingerprint(CheckChain(CHECKS[:-1])), fingerprint(CheckChain(CHECKS[::-1]))}) == 3
    assert fingerprint(CheckChain((*CHECKS, own))) is None, "machine code of a function in a function has no name"
