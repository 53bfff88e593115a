"""The rules of the gate stand in its tuple and nowhere else, and none makes a number that nothing has bounded yet."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Final

import msgspec
import pytest
from common.checks import gate, prices
from common.checks.case import AccountFields, Case, LimitFields, MarketFields, OrderFields, PositionFields
from common.checks.check import Check, check
from common.checks.gate import CHECKS
from common.compiled_checks import functions_of

BULK: Final = re.compile(r"^services/risk/src/risk/.*\.py$")
READS_COLUMNS: Final = re.compile(r"^(import numpy|from risk\.kernels import)", re.MULTILINE)
FIELDS: Final = frozenset(
    field.name
    for kind in (OrderFields, AccountFields, PositionFields, MarketFields, LimitFields)
    for field in msgspec.structs.fields(kind)
)
KIND_OF_ORDER: Final = frozenset({"sell", "is_market", "priced"})
"""Kinds by which the writes and the moves of an order differ; that is no decision."""
CHOOSING: Final = frozenset({"where", "minimum", "maximum", "clip", "select", "choose", "greater", "less", "equal"})
GROWING: Final = (ast.Mult, ast.Pow, ast.LShift)
PRODUCTS: Final[Mapping[str, Check]] = {prices.notional_e4.__name__: gate.notional_bounded}
"""Functions that may multiply, and the check which has to stand before any that asks them."""


def fields_in(node: ast.AST, made_of_fields: frozenset[str] = frozenset()) -> set[str]:
    """Fields of a case that an expression reads: as attributes, as columns, or by a name that was made of some."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and each.attr in FIELDS:
            found.add(each.attr)
        elif isinstance(each, ast.Subscript) and isinstance(each.slice, ast.Constant) and each.slice.value in FIELDS:
            found.add(str(each.slice.value))
        elif isinstance(each, ast.Name) and each.id in made_of_fields:
            found.add(each.id)
    return found


def decisions_in(function: ast.AST) -> Iterator[ast.expr]:
    """Expressions whose outcome depends on a field of a case: comparisons, conditions, choices by element."""
    made = frozenset(
        target.id
        for each in ast.walk(function)
        if isinstance(each, ast.Assign) and fields_in(each.value)
        for target in each.targets
        if isinstance(target, ast.Name)
    )
    for each in ast.walk(function):
        if isinstance(each, ast.Compare) and fields_in(each, made):
            yield each
        elif (
            isinstance(each, ast.If | ast.IfExp | ast.While | ast.Assert) and fields_in(each.test, made) - KIND_OF_ORDER
        ):
            yield each.test
        elif isinstance(each, ast.expr) and chooses(each) and fields_in(each, made) - KIND_OF_ORDER:
            yield each


def chooses(node: ast.expr) -> bool:
    """Whether it is one of several values, or of arrays the one or the other element."""
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(node, ast.BoolOp) or (isinstance(called, ast.Attribute) and called.attr in CHOOSING)


def rules_outside_the_tuple(path: str, text: str) -> Iterator[str]:
    if not BULK.match(path) or not READS_COLUMNS.search(text):
        return
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            for decision in decisions_in(function):
                yield f"{path}:{decision.lineno}: {ast.unparse(decision)!r} decides; that is a check's"


def products_before_their_bound(checks: Sequence[Check]) -> Iterator[str]:
    for number, each in enumerate(checks):
        assert isinstance(each.passes, FunctionType)
        before = checks[:number]
        for function in functions_of(each.passes):
            if not multiplies(function):
                continue
            bound = PRODUCTS.get(function.__name__)
            if bound is None:
                yield f"{each.name} multiplies in {function.__name__}: divide, or name the check that bounds it"
            elif bound not in before:
                yield f"{each.name} asks {function.__name__} before {bound.name} has bounded it"


def multiplies(function: FunctionType) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    made = next(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))
    steps = [step for statement in made.body for step in ast.walk(statement)]
    return any(isinstance(step, ast.BinOp | ast.AugAssign) and isinstance(step.op, GROWING) for step in steps)


def test_bulk_code_when_read_then_it_decides_nothing(files: Mapping[str, str]) -> None:
    looked_at = [path for path, text in files.items() if BULK.match(path) and READS_COLUMNS.search(text)]
    assert {"services/risk/src/risk/domain/gate_kernel.py", "services/risk/src/risk/runs.py"} <= set(looked_at)
    found = [finding for path, text in files.items() for finding in rules_outside_the_tuple(path, text)]
    assert not found, "\n" + "\n".join(found)


def test_checks_when_read_then_no_product_comes_before_its_bound() -> None:
    assert not list(products_before_their_bound(CHECKS))


BULK_FILE = "services/risk/src/risk/domain/any_kernel.py"
IMPORTS = "import numpy as np\n"
BROKEN = (
    "def f(intent): return intent.qty > 0",
    "def f(intent, market): return intent.qty % market.lot_qty == 0",
    "def f(columns): return columns['reserved_qty'] <= 5",
    "def f(account):\n    if account.active:\n        return 1",
    "def f(account): return 1 if not account.known else 2",
    "def f(account, i): return account.active and i",
    "def f(intent):\n    wanted = intent.qty * 2\n    return wanted < 7",
    "def f(rows): return np.where(rows['qty'], 1, 2)",
    "def f(position, qty): return np.minimum(position.qty, qty)",
    "def f(account):\n    while account.cash_e4:\n        pass",
)
SOUND = (
    "def f(intent, order):\n    if intent.sell:\n        order.amount = intent.qty",
    "def f(order, passed): return order.failed == passed",
    "def f(account, order): account.reserved_cash_e4 += order.amount",
    "def f(text, at): return text[at] == 7",
)


@pytest.mark.parametrize("text", BROKEN)
def test_rule_when_a_decision_stands_in_bulk_code_then_found(text: str) -> None:
    assert list(rules_outside_the_tuple(BULK_FILE, IMPORTS + text))


@pytest.mark.parametrize("text", SOUND)
def test_rule_when_bulk_code_moves_and_writes_then_silent(text: str) -> None:
    assert not list(rules_outside_the_tuple(BULK_FILE, IMPORTS + text))


@check("NOTIONAL_DOUBLED", "of a test")
def doubles(case: Case) -> bool:
    return 2 * case.order.qty < 7


def test_rule_when_a_product_is_not_bounded_then_found() -> None:
    late = CHECKS.index(gate.notional_bounded)
    assert list(products_before_their_bound((*CHECKS, doubles)))
    assert list(products_before_their_bound((*CHECKS[:late], *CHECKS[late + 1 :], gate.notional_bounded)))
