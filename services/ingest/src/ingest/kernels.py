"""Compiles the kernels of ingest."""

from pathlib import Path
from typing import Final

from common.contracts import ticks
from common.kernels import compiler, inlined, part

__all__ = ["inlined", "kernel", "part"]

kernel: Final = compiler(Path(__file__).parent / "domain", also=[Path(ticks.__file__)], allocates=True)
"""An entry point."""
