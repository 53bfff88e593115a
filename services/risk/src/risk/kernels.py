"""Compiles the kernels of the gate."""

from pathlib import Path
from typing import Final

from common.kernels import compiler, part

__all__ = ["kernel", "part"]

kernel: Final = compiler(Path(__file__).parent / "domain")
"""An entry point."""
