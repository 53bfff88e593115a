"""Compiles the kernels of the books."""

from pathlib import Path
from typing import Final

from common.contracts import alerts
from common.kernels import compiler

HERE: Final = Path(__file__).parent
kernel: Final = compiler(HERE, also=(Path(alerts.__file__),))
"""An entry point."""
SOURCES: Final = tuple(sorted(HERE.glob("*.py")))
"""Whoever compiles parts of these into kernels of its own keeps the machine code under their fingerprint, too."""
