"""A small file that is read again when it changes: deny list, keys."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from streams.process.logs import get_logger

T = TypeVar("T")
_log = get_logger(__name__)
LOOK_S: Final = 1.0
"""How often it is looked whether a file has changed."""
BYTES_MAX: Final = 16 << 20


class WatchedFile(Generic[T]):
    """Value of a file. A new content that cannot be read changes nothing, and is logged."""

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        """Reads it. Raises OSError where it is not there, ValueError where it cannot be read."""
        self._path = path
        self._parse = parse
        self._seen = self._stamp()
        self._value = parse(self._content())
        self._looked_s = time.monotonic()

    def value(self) -> T:
        """As it was a second ago at the earliest."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._look()
        return self._value

    def look(self) -> T:
        """As it is now."""
        self._look()
        return self._value

    def _look(self) -> None:
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._value = self._parse(self._content())
                self._seen = stamp
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.error("access_file_unreadable", path=str(self._path), error=type(error).__name__)

    def _stamp(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _content(self) -> bytes:
        with self._path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        if len(content) > BYTES_MAX:
            raise ValueError(f"{self._path} has more than {BYTES_MAX} bytes")
        return content
