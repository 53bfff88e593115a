"""Downloads that are kept: ``${XDG_CACHE_HOME:-~/.cache}/tidemark``, complete or not there at all."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

CACHE_ENV: Final = "XDG_CACHE_HOME"


def cache_dir() -> Path:
    """Directory of downloads, made if need be."""
    directory = Path(os.environ.get(CACHE_ENV) or Path.home() / ".cache") / "tidemark"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def tell(line: str) -> None:
    """One line of progress on standard error."""
    print(f"tidemark: {line}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def locked(path: Path, *, waiting_for: str) -> Iterator[None]:
    """Holds a lock file against other processes; says so when it has to wait. The kernel frees it at our death."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"waiting for another process that fetches {waiting_for}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The cached directory ``name``, made by ``make`` in a temporary place and renamed when it is whole.

    Safe against a crash at any point and against other processes: one makes it, the others wait.
    """
    root = cache_dir()
    target = root / name
    if target.is_dir():
        return target
    with locked(root / f".{name}.lock", waiting_for=name):
        if target.is_dir():
            return target
        for leftover in root.glob(f".{name}.part-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.part-", dir=root) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            make(made)
            made.rename(target)
    return target
