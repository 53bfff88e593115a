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
from common.checks.check import LIMITS_MAX, Check, CheckChain, check
from common.checks.gate import CHECKS
from common.checks.installed import CheckUnavailable, gate_of, installed
from common.checks.reasons import OF_CONTROLS, denials, meanings
from common.contracts.events import ReasonCode
from common.contracts.values import INT64_MAX
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.common.any_case import NOW_NS, Draw
from tests.common.at_the_limit import AT_THE_LIMIT, but

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
    """Shows that the test above says something of each check."""
    draw = Draw(1)
    assert set(on_rows([draw.case() for _ in range(20_000)])) == set(range(CHAIN.passed + 1))


def test_every_check_has_a_limit_that_is_tried() -> None:
    assert list(AT_THE_LIMIT) == [each.name for each in CHECKS]


def test_case_at_the_limit_of_a_check_then_passed_and_one_beyond_denied_by_it_on_both_paths(on_rows: Any) -> None:
    for name, pairs in AT_THE_LIMIT.items():
        number = [each.name for each in CHECKS].index(name)
        for at, beyond in pairs:
            both = [but(at), but(beyond)]
            assert [CHAIN.first_failing(case) for case in both] == [CHAIN.passed, number], (name, at, beyond)
            assert on_rows(both) == [CHAIN.passed, number], (name, at, beyond)


@pytest.mark.parametrize("denying", [each for each in CHECKS if each.limit], ids=lambda each: each.name)
def test_check_when_its_limit_is_off_then_it_denies_nothing_on_either_path(denying: Check, on_rows: Any) -> None:
    number = CHECKS.index(denying)
    beyond = [but(pair[1]) for pair in AT_THE_LIMIT[denying.name]]
    off = {denying.limit: type(getattr(LimitFields(), denying.limit))(0)}
    unlimited = [case._replace(limits=msgspec.structs.replace(case.limits, **off)) for case in beyond]
    assert all(found == number for found in on_rows(beyond))
    assert number not in on_rows(unlimited)
    assert [CHAIN.first_failing(case) for case in unlimited] == on_rows(unlimited)


def test_check_when_its_limit_is_off_then_it_is_not_even_asked() -> None:
    asked = []

    @check("LIMIT_REACHED", "of a test", limit="window_orders_max")
    def counts(case: Case) -> bool:
        asked.append(case.limits.window_orders_max)
        return False

    chain = CheckChain((counts,))
    answers = [chain.first_failing(but({"limits.window_orders_max": n % 2})) for n in range(3 * LIMITS_MAX)]
    assert answers == [chain.passed, 0] * (len(answers) // 2), "limits that are gone leave their place to others"
    assert set(asked) == {1}


def test_check_when_there_is_no_such_limit_then_refused() -> None:
    with pytest.raises(ValueError, match="no such limit"):
        check("LIMIT_REACHED", "of a test", limit="order_qty_most")


def test_checks_when_a_product_comes_before_its_bound_then_the_overflow_is_found() -> None:
    """Shows that the test above can fail: cash is asked for before the notional is known to fit."""
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
    elsewhere = {each.reason for each in CHECKS} | {each.reason for each in OF_CONTROLS}
    assert set(meanings()) == set(ReasonCode) | elsewhere


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
