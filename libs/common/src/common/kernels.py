"""How the numba kernels of a service are compiled, and where the compiled code is kept between processes.

Numba checks only the file of a kernel itself for changes, not the files of what it calls. So the cache directory is
named after a fingerprint of all kernel sources: a changed source never meets code that was compiled before.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numba import njit, types
from numba.core.caching import FunctionCache
from numba.core.cgutils import raw_memcpy
from numba.extending import intrinsic

CONFIGURED: Final[str] = numba.config.CACHE_DIR
"""``NUMBA_CACHE_DIR``; empty where it is not set."""


def _fingerprint(domain: Path, also: Iterable[Path]) -> str:
    """Hash of the kernel sources, of the pieces in this file and of the compiler's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in (Path(__file__), *sorted(domain.glob("*.py")), *also):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir(domain: Path, configured: str = CONFIGURED, also: Iterable[Path] = ()) -> Path:
    """Below ``configured``, else the user's cache directory (XDG), else the temporary files."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    base = Path(configured) if configured else home / "tidemark" / "kernels"
    wanted = base / _fingerprint(domain, also)
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"tidemark-kernels-{os.getuid()}" / wanted.name
    return wanted


def compiler(domain: Path, *parts: str, also: Iterable[Path] = (), allocates: bool = False) -> Callable[[Any], Any]:
    """A decorator for the entry points in the modules of ``domain``.

    ``parts`` name what else is compiled into them; ``also``: other sources whose values they freeze. Without the numba
    runtime, unless a kernel ``allocates``: passing arrays on then counts no references.
    """
    below = cache_dir(domain, also=also).joinpath(*parts)
    below.mkdir(parents=True, exist_ok=True)
    directory = str(below)
    compile_ = njit(cache=True, nogil=True) if allocates else njit(cache=True, nogil=True, _nrt=False)

    def kernel(function: Any) -> Any:
        numba.config.CACHE_DIR = directory  # numba asks for it when a function is decorated
        return compile_(function)

    return kernel


part: Final = njit(nogil=True, _nrt=False, forceinline=True)
"""A piece of a kernel. Inlined: an array argument is eight words, a call with ten of them costs more than the work."""

outlined: Final = njit(nogil=True, _nrt=False)
"""Compiled once in a process and not kept: a large piece that is seldom needed, instead of a copy in each place that
calls it; or an entry point whose machine code the next process could not tell from another's."""


def composed(domain: Path, fingerprint: str, also: Iterable[Path] = ()) -> Callable[[Any], Any]:
    """A decorator for entry points that enclose other compiled functions. ``fingerprint``: of those functions.
    ``also``: as in ``compiler``.

    Numba tells such functions apart by what they enclose, as bytes, and compiled functions are other bytes in each
    process: it would never find one again. So the fingerprint takes their place in the key.
    """

    def decorate(function: Any) -> Any:
        compiled = outlined(function)
        numba.config.CACHE_DIR = str(cache_dir(domain, also=also))  # numba asks for it when a cache is made
        found = FunctionCache(function)
        found._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), fingerprint)
        compiled._cache = found
        return compiled

    return decorate


inlined: Final = njit(inline="always")
"""A piece of a kernel that allocates: its code stands wherever it is called, before types are known."""

index: Final = np.uint64
"""Marks an index that is never negative: numba then leaves out the question whether it counts from the end."""


@intrinsic
def _copy(_context, target, at, source, begin, size):
    """``memcpy`` between arrays of bytes. As a loop, which LLVM does not see through, it takes ten times as long."""

    def generate(context, builder, signature, arguments):
        target, at, source, begin, size = arguments
        to = context.make_array(signature.args[0])(context, builder, target).data
        origin = context.make_array(signature.args[2])(context, builder, source).data
        raw_memcpy(builder, builder.gep(to, [at]), builder.gep(origin, [begin]), size, 1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), generate


@part
def write_piece(text, at, source, begin, end):
    """``source`` from ``begin`` to ``end``, of bytes as ``text``. Returns the position after it."""
    _copy(text, at, source, begin, end - begin)
    return at + end - begin
