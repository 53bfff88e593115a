"""Compiles the kernels of signals."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from common.books.kernels import SOURCES as BOOKS
from common.contracts import alerts
from common.kernels import cache_dir, compiler, composed, index, outlined, part

__all__ = ["fingerprint_of", "index", "is_compiled", "kernel", "kernel_of", "outlined", "part"]

_DOMAIN: Final = Path(__file__).parent / "domain"
_FROZEN: Final = (*BOOKS, Path(alerts.__file__))
"""Sources beside the domain whose code or values kernels hold."""
kernel: Final = compiler(_DOMAIN, also=_FROZEN)
"""An entry point."""


def is_compiled() -> bool:
    """Whether an earlier process has left compiled kernels: else the first call takes about a minute."""
    return any(cache_dir(_DOMAIN, also=BOOKS).rglob("*.nbi"))


def kernel_of(fingerprint: str) -> Callable[[Any], Any]:
    """A decorator for entry points that enclose compiled functions of measures. ``fingerprint``: of those."""
    return composed(_DOMAIN, fingerprint, BOOKS)


def fingerprint_of(declared: str, functions: Sequence[Callable[..., Any]]) -> str:
    """Hash of a declaration, its functions, and every source beside theirs, whose functions they may call.

    The names of their modules belong to it: compiled code imports them when it is loaded.
    """
    digest = hashlib.sha256(declared.encode())
    for function in functions:
        digest.update(function.__module__.encode())
        digest.update(function.__code__.co_code + repr(function.__code__.co_consts).encode())
    directories = {Path(inspect.getfile(function)).parent for function in functions}
    for source in sorted(path for directory in directories for path in directory.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
