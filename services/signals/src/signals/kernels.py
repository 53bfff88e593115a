"""How the numba kernels are compiled, and where the compiled code is kept between processes.

Numba checks only the file of a kernel itself for changes, not the files of what it calls. So the cache directory is
named after a fingerprint of all kernel sources: a changed source never meets code that was compiled before.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

import numba
import numpy as np
from numba import njit


def _fingerprint() -> str:
    """Of the kernel sources and of the compiler's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted((Path(__file__).parent / "domain").glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir(configured: str) -> Path:
    """Below ``configured`` (``NUMBA_CACHE_DIR``), else the user's cache directory (XDG), else the temporary files."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    base = Path(configured) if configured else home / "tidemark" / "kernels"
    wanted = base / _fingerprint()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"tidemark-kernels-{os.getuid()}" / wanted.name
    return wanted


numba.config.CACHE_DIR = str(cache_dir(numba.config.CACHE_DIR))

kernel: Final = njit(cache=True, nogil=True, _nrt=False)
"""An entry point. Without the numba runtime: kernels allocate nothing, and passing arrays on counts no references."""

part: Final = njit(nogil=True, _nrt=False, forceinline=True)
"""A piece of a kernel. Inlined: an array argument is eight words, a call with ten of them costs more than the work."""

index: Final = np.uint64
"""Marks an index that is never negative: numba then leaves out the question whether it counts from the end."""
