"""The directory of a stack: held by one process, cleared away after one that crashed."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Final, Self

from parts.errors import PartsError

PREFIX: Final = "tidemark-stack-"
OWNER: Final = ".owner"


class Home:
    """A directory under the lock of this process. The kernel frees the lock when the process dies, however it dies."""

    def __init__(self, path: Path, lock: IO[str], *, temporary: bool) -> None:
        self.path = path
        self._lock = lock
        self._temporary = temporary

    @classmethod
    def given(cls, path: Path) -> Self:
        """Takes the caller's directory, made if need be. Raises PartsError where another stack runs in it."""
        path.mkdir(parents=True, exist_ok=True)
        lock = _try_lock(path)
        if lock is None:
            raise PartsError(f"another stack runs in {path}; stop it, or give this one a directory of its own")
        return cls(path.resolve(), lock, temporary=False)

    @classmethod
    def temporary(cls) -> Self:
        """Makes a temporary directory, and removes those of processes that are gone."""
        clear_stale()
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
            # Another process may be clearing up and take the new directory for a stale one; then there is the next.
            if (lock := _try_lock(path)) is not None:
                return cls(path, lock, temporary=True)

    def release(self, *, remove: bool) -> None:
        """Gives the directory back; ``remove`` deletes a temporary one."""
        if remove and self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def clear_stale() -> None:
    """Removes temporary directories whose stack is gone without having removed them."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (lock := _try_lock(path, mode="r+")) is not None:
            shutil.rmtree(path, ignore_errors=True)
            lock.close()


def _try_lock(directory: Path, mode: str = "a") -> IO[str] | None:
    try:
        lock = (directory / OWNER).open(mode)
    except OSError:
        return None  # just being made, removed meanwhile, or another user's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock.fileno()).st_nlink > 0:
            return lock
    except BlockingIOError:
        pass
    lock.close()
    return None
