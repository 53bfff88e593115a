"""Digests of checks, one each: they say which checks are others than those that once made a decision."""

import hashlib
import inspect
from functools import lru_cache
from types import FunctionType
from typing import Final

from common.checks.check import Check, CheckChain
from common.compiled_checks import functions_of

DIGEST_CHARS: Final = 16


@lru_cache(maxsize=256)
def check_digest(check: Check) -> str:
    """Another for any change of the check, of what it calls, or of a number that these hold; in hexadecimal."""
    assert isinstance(check.passes, FunctionType)
    digest = hashlib.sha256(check.limit.encode())
    for function in sorted(functions_of(check.passes), key=lambda each: (each.__module__, each.__qualname__)):
        digest.update(f"{function.__module__}.{function.__qualname__}\n{_text_of(function)}".encode())
        held = inspect.getclosurevars(function).globals.items()
        digest.update(repr(sorted((name, value) for name, value in held if isinstance(value, int | str))).encode())
    return digest.hexdigest()[:DIGEST_CHARS]


def digests_of(chain: CheckChain) -> dict[str, str]:
    """Check → digest, in the order of the chain."""
    return {check.name: check_digest(check) for check in chain.checks}


def _text_of(function: FunctionType) -> str:
    """The source; of a function that has no file, its code."""
    try:
        return inspect.getsource(function)
    except OSError:
        return f"{function.__code__.co_code.hex()} {function.__code__.co_consts} {function.__code__.co_names}"
