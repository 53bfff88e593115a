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
    """``first_failing`` of the chain for kernels: inlined into the one that calls it.

    Checks are joined in pairs, and those in pairs: the compiler goes down into what a function calls, and would come to
    the end of its stack with some forty checks one inside the other.
    """
    end = chain.passed
    links = [part(_link(_asked(check), number)) for number, check in enumerate(chain.checks)]
    while len(links) > 1:
        pairs = zip(links[::2], links[1::2], strict=False)
        links = [part(_both(*pair)) for pair in pairs] + links[len(links) // 2 * 2 :]
    (whole,) = links

    def first_failing(case):
        failed = whole(case)
        return end if failed < 0 else failed

    return part(first_failing)


def _compiled(check: Check) -> Any:
    assert isinstance(check.passes, FunctionType)
    for function in functions_of(check.passes):
        if function is not check.passes and function not in _registered:
            register_jitable(forceinline=True, _nrt=False)(function)
            _registered.add(function)
    return part(check.passes)


def _asked(check: Check) -> Any:
    """The check, which lets every case pass while its limit is off."""
    passes, limit = _compiled(check), check.limit
    if not limit:
        return passes

    def passes_or_is_off(case):
        return not case.limits[limit] or passes(case)

    return part(passes_or_is_off)


def _link(passes: Any, number: int) -> Any:
    def failing(case):
        return -1 if passes(case) else number

    return failing


def _both(first: Any, second: Any) -> Any:
    def failing(case):
        failed = first(case)
        return failed if failed >= 0 else second(case)

    return failing


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
            digest.update(f"{check.name} {check.limit} {function.__module__}.{function.__qualname__}".encode())
            digest.update(source.read_bytes())
            constants = inspect.getclosurevars(function).globals.items()
            digest.update(repr(sorted((k, v) for k, v in constants if isinstance(v, int | float | str))).encode())
    return digest.hexdigest()[:16]
