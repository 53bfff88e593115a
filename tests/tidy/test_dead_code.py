"""Code that nothing uses is found: a definition whose name no other code says, a module that nobody imports.

What only tests use is dead as well, except in packages that are there for tests. The rule goes by names, not by types:
a method is in use when any code says its name. What a framework calls by itself (a decorated function, a method of a
class whose base is not ours) is left out.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

EXPECTED: Mapping[str, str] = {
    "diagram": "the README of orders shows it, and a test compares",
    "build_request_header": "aiokafka calls it",
    "parse_response_header": "aiokafka calls it",
    "settings_customise_sources": "pydantic-settings calls it",
    "PINNED": "a test holds aiokafka's private parts to the release",
    "PRIVATE": "the same test goes through them",
    "_missing_": "Enum calls it",
    "tidemark_examples.checks": "an entry point",
    "tidemark_examples.measures": "an entry point",
    "tidemark_examples.patterns": "an entry point",
    "either": "for the patterns of others; the guide has it",
    "optional": "for the patterns of others; the guide has it",
    "tidemark_examples.feeds": "an entry point",
    "tidemark_examples.sinks": "an entry point",
    "TRADES_JSONL": "an entry point",
    "SQLITE": "an entry point",
    "on_start": "Faust calls it",
    "on_stop": "Faust calls it",
    "common.ledger.balances": "a fold for tests, which shares no code with the gate that it judges",
}
"""Names that nobody says in code, or only tests, and why they are there."""
PLAIN_DECORATORS = frozenset({"abstractmethod", "asynccontextmanager", "cache", "cached_property", "classmethod"}) | {
    "compiled", "contextmanager", "dataclass", "lru_cache", "njit", "override", "property", "setter", "staticmethod",
}  # fmt: skip
"""Decorators that register nothing: what they decorate must still be used by name."""
PLAIN_BASES = frozenset({"ABC", "BaseModel", "BaseSettings", "Enum", "Exception", "Generic", "IntEnum", "IntFlag"}) | {
    "NamedTuple", "Protocol", "RuntimeError", "StrEnum", "Struct", "ValueError", "object",
}  # fmt: skip
"""Bases of others that call no method by its name."""
FOR_TESTS = ("libs/common/src/common/testing/", "libs/streams/src/streams/testing/", "libs/parts/", "docs/")
WORD = re.compile(r"[A-Za-z_]\w*")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Defined:
    """A name that a module defines, and how often the definition itself says it (a recursion is no use)."""

    path: str
    line: int
    name: str
    own: int


def sources(files: Mapping[str, str]) -> dict[str, ast.Module]:
    return {path: ast.parse(text) for path, text in files.items() if path.endswith(".py")}


def said(tree: ast.AST) -> Counter[str]:
    """How often code says each name: read, imported, as an attribute, or within a text that could be code."""
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            names[node.attr] += 1
        elif isinstance(node, ast.alias):
            names.update(node.name.split("."))
        elif isinstance(node, ast.keyword) and node.arg:
            names[node.arg] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.update(WORD.findall(node.value))
    return names


def last_name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def definitions(path: str, tree: ast.Module, ours: frozenset[str]) -> Iterator[Defined]:
    for node in tree.body:
        if isinstance(node, Definition):
            yield from _definition(path, node)
            if isinstance(node, ast.ClassDef) and all(last_name(base) in ours | PLAIN_BASES for base in node.bases):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                        yield from _definition(path, method)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (Defined(path, node.lineno, t.id, 0) for t in targets if isinstance(t, ast.Name))


def _definition(path: str, node: Definition) -> Iterator[Defined]:
    if all(last_name(decorator) in PLAIN_DECORATORS for decorator in node.decorator_list):
        yield Defined(path, node.lineno, node.name, said(node)[node.name])


def unused(trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Definitions that no code uses, or none but tests."""
    ours = frozenset(node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    everywhere, outside_tests = Counter[str](), Counter[str]()
    for path, tree in trees.items():
        names = said(tree)
        everywhere.update(names)
        if not path.startswith("tests/"):
            outside_tests.update(names)
    for path, tree in trees.items():
        if path.startswith(("tests/", ".ci/")):
            continue
        uses = everywhere if path.startswith(FOR_TESTS) else outside_tests
        for defined in definitions(path, tree, ours):
            if not defined.name.startswith("__") and uses[defined.name] <= defined.own:
                only = " outside tests" if everywhere[defined.name] > defined.own else ""
                yield f"{path}:{defined.line}: {defined.name} is used nowhere{only}"


def module_name(path: str) -> str:
    """``a.b`` of ``libs/x/src/a/b.py``; empty for a file that is started, not imported, and for a package."""
    _, in_package, name = path.partition("/src/")
    started = PurePosixPath(path).stem in {"__init__", "__main__"}
    return "" if started or not in_package else name.removesuffix(".py").replace("/", ".")


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a file imports, or names in a text, to be imported or started later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def orphans(trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Modules that no code imports, or only tests: commands, which are found by their file, are none."""
    by_tests = {name for path, tree in trees.items() if path.startswith("tests/") for name in imported(tree)}
    by_code = {name for path, tree in trees.items() if not path.startswith("tests/") for name in imported(tree)}
    for path, tree in trees.items():
        name = module_name(path)
        known = by_code | by_tests if path.startswith(FOR_TESTS) else by_code
        if name and name not in known and ".commands." not in name and "__main__" not in said(tree):
            yield f"{path}: {name} is imported nowhere" + (" outside tests" if name in by_tests else "")


@pytest.fixture(scope="module")
def findings(files: Mapping[str, str]) -> list[str]:
    trees = sources(files)
    return [*unused(trees), *orphans(trees)]


def test_everything_is_used(findings: list[str]) -> None:
    found = [finding for finding in findings if finding.split()[1] not in EXPECTED]
    assert not found, "\n" + "\n".join(found)


def test_every_exception_is_one(findings: list[str]) -> None:
    """An exception that the rules would not find any more goes."""
    assert sorted(set(EXPECTED) - {finding.split()[1] for finding in findings}) == []


CODE = """
class Used(Base):
    def said(self): return self.said()
    def called(self): ...
def loop(): return loop()
@app.command
def registered(): ...
LIMIT: int = 3
"""


def test_definition_when_nobody_says_its_name_then_found() -> None:
    files = {
        "libs/a/src/a/code.py": CODE,
        "libs/a/src/a/other.py": "from a.code import Used\nUsed().called()\nclass Base: ...\nBase()\n",
        "tests/test_a.py": "from a.code import LIMIT",
    }
    assert sorted(finding.split(": ", 1)[1] for finding in unused(sources(files))) == [
        "LIMIT is used nowhere outside tests",
        "loop is used nowhere",
        "said is used nowhere",
    ]


def test_method_when_its_class_has_a_base_of_others_then_left_out() -> None:
    files = {"libs/a/src/a/code.py": CODE, "libs/a/src/a/other.py": "from a.code import Used, LIMIT, loop, Base\nUsed"}
    assert [finding.split()[1] for finding in unused(sources(files))] == []


def test_module_when_nobody_imports_it_then_found() -> None:
    files = {
        "libs/a/src/a/code.py": "x = 1",
        "libs/a/src/a/tested.py": "x = 1",
        "libs/a/src/a/read.py": "from a import code",
        "libs/a/src/a/__main__.py": "import a.read",
        "libs/a/src/a/script.py": "if __name__ == '__main__': ...",
        "libs/a/src/a/lost.py": "x = 1",
        "tests/test_a.py": "import a.tested",
    }
    assert list(orphans(sources(files))) == [
        "libs/a/src/a/tested.py: a.tested is imported nowhere outside tests",
        "libs/a/src/a/lost.py: a.lost is imported nowhere",
    ]
