"""Compiles the kernels of the gate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from common.checks.check import CheckChain
from common.compiled_checks import fingerprint
from common.kernels import compiler, outlined, part

__all__ = ["kernel", "kernel_with", "part"]

DOMAIN: Final = Path(__file__).parent / "domain"

kernel: Final = compiler(DOMAIN)
"""An entry point."""


def kernel_with(chain: CheckChain) -> Callable[[Any], Any]:
    """An entry point that has the checks in it; kept between processes where its machine code can be told apart."""
    named = fingerprint(chain)
    return compiler(DOMAIN, named) if named else outlined
