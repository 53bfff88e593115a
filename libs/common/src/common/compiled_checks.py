"""A chain of checks as machine code: what runs on rows of arrays is compiled from the functions that run on structs.

The compiled function takes a case and returns the number of the first check that it fails, as ``CheckChain`` does.
"""

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from numba.extending import register_jitable

from common.checks.check import Check, CheckChain
from common.kernels import part

_registered: Final[set[FunctionType]] = set()
"""Functions that the checks call; bounded by what is imported."""


def functions_of(function: FunctionType) -> Iterator[FunctionType]:
    """The function, and each function in Python that it calls, and they call, once."""
    seen: set[FunctionType] = set()
    waiting = [function]
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        yield each
        names = inspect.getclosurevars(each)
        waiting += [
            value for value in (*names.globals.values(), *names.nonlocals.values()) if isinstance(value, FunctionType)
        ]


def compiled(chain: CheckChain) -> Any:
    """``first_failing`` of the chain for kernels: inlined into the one that calls it."""
    end = chain.passed

    def passed(_case):  # type: ignore[no-untyped-def]
        return end

    found = part(passed)
    for number, check in reversed(tuple(enumerate(chain.checks))):
        found = part(_link(_compiled(check), number, found))
    return found


def _compiled(check: Check) -> Any:
    assert isinstance(check.passes, FunctionType)
    for function in functions_of(check.passes):
        if function is not check.passes and function not in _registered:
            register_jitable(forceinline=True, _nrt=False)(function)
            _registered.add(function)
    return part(check.passes)


def _link(passes: Any, number: int, rest: Any) -> Any:
    def first_failing(case):  # type: ignore[no-untyped-def]
        return rest(case) if passes(case) else number

    return first_failing


def fingerprint(chain: CheckChain) -> str | None:
    """Names the machine code of a chain: another for any change of a check, or of what it calls.

    None where a check is no function of a module, whose machine code cannot be told from another's.
    """
    digest = hashlib.sha256()
    for check in chain.checks:
        assert isinstance(check.passes, FunctionType)
        for function in functions_of(check.passes):
            source = Path(function.__code__.co_filename)
            if "<" in function.__qualname__ or not source.is_file():
                return None
            digest.update(f"{check.name} {function.__module__}.{function.__qualname__}".encode())
            digest.update(source.read_bytes())
            constants = inspect.getclosurevars(function).globals.items()
            digest.update(repr(sorted((k, v) for k, v in constants if isinstance(v, int | float | str))).encode())
    return digest.hexdigest()[:16]
