"""How the code reads: each rule is a function from a file to what is wrong with it, and is shown to be able to fail."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

import pytest
from common.contracts.topics import TOPICS

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
COMPILER = "libs/common/src/common/kernels.py"
TOPIC_TABLE = "libs/common/src/common/contracts/topics.py"
LIBRARY_TESTS = "tests/streams/"
OURS = frozenset({"common", "ingest", "signals", "risk", "orders", "push", "auditor", "tidemark"})
TOPIC_NAMES = frozenset(name for topic in TOPICS for name in (topic.name, topic.dead_letters))
VAGUE_NAMES = frozenset({"utils.py", "util.py", "helpers.py", "misc.py", "utils.ts", "helpers.ts"})
SOURCES = frozenset({".py", ".ts", ".tsx"})
VAGUE_BEGINNINGS = frozenset({"What", "Who", "Whose", "Of", "Where", "So"})
MONEY = re.compile(r"(^|_)(price|cash|notional|amount|balance|reserved|vwap|mark|bid|ask|fee|qty|e4)(_|$)")

Rule = Callable[[str, str], Iterator[str]]


def module_length(path: str, text: str) -> Iterator[str]:
    lines = text.count("\n")
    if PurePosixPath(path).suffix in SOURCES and lines > MODULE_LINES_MAX:
        yield f"{path}: {lines} lines, {MODULE_LINES_MAX} at most"


def function_length(path: str, text: str) -> Iterator[str]:
    for node in _functions(path, text):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        lines = (node.end_lineno or first) - first + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{path}:{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES_MAX} at most"


def vague_name(path: str, _: str) -> Iterator[str]:
    if PurePosixPath(path).name in VAGUE_NAMES:
        yield f"{path}: name it after what it holds"


def topic_literal(path: str, text: str) -> Iterator[str]:
    if not path.endswith(".py") or path == TOPIC_TABLE:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in TOPIC_NAMES:
            yield f"{path}:{node.lineno}: {node.value!r} is spelt out; take it from the topic table"


def compiled_elsewhere(path: str, text: str) -> Iterator[str]:
    """The wrapper keeps machine code apart from that of other sources, which numba alone does not."""
    if not path.endswith(".py") or path == COMPILER:
        return
    for node in ast.walk(ast.parse(text)):
        name = node.module if isinstance(node, ast.ImportFrom) else None
        if name == "numba" and {each.name for each in getattr(node, "names", ())} & {"jit", "njit", "vectorize"}:
            yield f"{path}:{getattr(node, 'lineno', 0)}: compile with the wrapper of {COMPILER}"


def library_tests_alone(path: str, text: str) -> Iterator[str]:
    """The runtime is a library of its own, and so are its tests: whoever takes the one can take the others."""
    if not path.startswith(LIBRARY_TESTS) or not path.endswith(".py"):
        return
    for node in ast.walk(ast.parse(text)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.partition(".")[0] in OURS:
                yield f"{path}:{getattr(node, 'lineno', 0)}: imports {name}; tests/common is for the fleet"


def float_money(path: str, text: str) -> Iterator[str]:
    if not path.endswith(".py"):
        return
    for name, annotation, line in _annotated_names(ast.parse(text)):
        kinds = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
        if MONEY.search(name) and "float" in kinds:
            yield f"{path}:{line}: {name} is a float; money and quantities are integers with the unit in the name"


def vague_docstring(path: str, text: str) -> Iterator[str]:
    """The first word of a docstring belongs to the thing: a noun that it is, or a verb that it does."""
    if not path.endswith(".py"):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first = next(iter(node.value.value.split()), "")
            if first.rstrip(",:;.") in VAGUE_BEGINNINGS:
                yield f"{path}:{node.lineno}: begins with {first!r}; say first what the thing is or does"


def _functions(path: str, text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    if path.endswith(".py"):
        yield from (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _annotated_names(tree: ast.AST) -> Iterator[tuple[str, ast.expr, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name | ast.Attribute):
            target = node.target
            yield target.id if isinstance(target, ast.Name) else target.attr, node.annotation, node.lineno
        elif isinstance(node, ast.arg) and node.annotation:
            yield node.arg, node.annotation, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            yield node.name, node.returns, node.lineno


RULES: tuple[Rule, ...] = (
    module_length,
    function_length,
    vague_name,
    topic_literal,
    compiled_elsewhere,
    library_tests_alone,
    float_money,
    vague_docstring,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps_the_rule(rule: Rule, files: Mapping[str, str]) -> None:
    found = [finding for path, text in files.items() for finding in rule(path, text)]
    assert not found, "\n" + "\n".join(found)


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
TOPIC = min(TOPIC_NAMES)

BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (module_length, "a.py", "x = 1\n" * (MODULE_LINES_MAX + 1)),
    (module_length, "a.ts", "let x = 1;\n" * (MODULE_LINES_MAX + 1)),
    (function_length, "a.py", LONG_FUNCTION),
    (
        function_length,
        "a.py",
        "class C:\n" + "".join(f"    {line}\n" for line in f"async {LONG_FUNCTION}".splitlines()),
    ),
    (vague_name, "services/risk/src/risk/utils.py", ""),
    (topic_literal, "a.py", f"send('{TOPIC}')"),
    (compiled_elsewhere, "a.py", "from numba import njit, types"),
    (library_tests_alone, f"{LIBRARY_TESTS}test_a.py", "from common.contracts import topics"),
    (library_tests_alone, f"{LIBRARY_TESTS}test_a.py", "def f():\n    import risk.stages"),
    (float_money, "a.py", "price_e4: float = 0"),
    (float_money, "a.py", "def f(cash: float | None): ..."),
    (float_money, "a.py", "def notional() -> float: ..."),
    (float_money, "a.py", "class C:\n    best_bid: dict[str, float]"),
    (vague_docstring, "a.py", "'What a worker waits for.'"),
    (vague_docstring, "a.py", "class C:\n    async def f():\n        'Of: the account.'"),
    (vague_docstring, "a.py", "LATE = 1\n'Where a trade is late.'"),
)
SOUND: tuple[tuple[Rule, str, str], ...] = (
    (module_length, "a.py", "x = 1\n" * MODULE_LINES_MAX),
    (function_length, "a.py", LONG_FUNCTION.removesuffix("    x = 1\n")),
    (vague_name, "ledger.py", ""),
    (topic_literal, TOPIC_TABLE, f"name = '{TOPIC}'"),
    (topic_literal, "a.py", f"'''Reads {TOPIC}.'''"),
    (compiled_elsewhere, COMPILER, "from numba import njit"),
    (compiled_elsewhere, "a.py", "from numba import types"),
    (library_tests_alone, f"{LIBRARY_TESTS}test_a.py", "from streams import Stage\nfrom parts import Stack"),
    (float_money, "a.py", "price_e4: int = 0\ndelay_s: float = 0.5\ndef marked() -> float: ..."),
    (vague_docstring, "a.py", "'Whether it waits. What for: see f.'"),
    (vague_docstring, "a.md", "What a worker waits for."),
)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_rule_when_broken_then_found(rule: Rule, path: str, text: str) -> None:
    assert list(rule(path, text))


@pytest.mark.parametrize(("rule", "path", "text"), SOUND)
def test_rule_when_kept_then_silent(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(path, text))
