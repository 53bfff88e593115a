"""Compiles the kernels of signals."""

from pathlib import Path
from typing import Final

from common.kernels import compiler, index, part

__all__ = ["index", "kernel", "part"]

kernel: Final = compiler(Path(__file__).parent / "domain")
"""An entry point."""
