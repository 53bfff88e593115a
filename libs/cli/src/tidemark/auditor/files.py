"""The files of RocksDB stores: what stands in one never changes, so whatever does is damage.

Table files are written once. The write-ahead log and the manifest only grow. None of that needs the store to be open,
so a byte that RocksDB has cached, or will not read for days, is noticed as well. Names are not used twice while a store
lives; a store that was begun anew has another IDENTITY.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

PATTERNS: Final = ("*.sst", "*.log", "MANIFEST-*")
PIECE: Final = 1024 * 1024


@dataclass(slots=True)
class _File:
    """What was read of a file: its first ``size`` bytes, as a hash that can be carried on."""

    inode: int
    size: int = 0
    hashed: Any = field(default_factory=hashlib.sha256)
    stamp: tuple[int, int, int] = (0, 0, 0)
    """Size, modification and change time when it was last read."""
    read_s: float = 0.0


@dataclass(slots=True)
class StoreFiles:
    """One store's directory."""

    path: Path
    name: str
    identity: bytes = b""
    begun: int = 0
    """How often the store was begun anew since it is watched."""
    damaged: dict[str, str] = field(default_factory=dict)
    """File → what is wrong with it."""
    _files: dict[str, _File] = field(default_factory=dict)

    def look(self, interval_s: float, bytes_max: int, now_s: float) -> None:
        """Reads what is new, what grew (each ``interval_s``), what was touched, and up to ``bytes_max`` of the rest."""
        identity = _content(self.path / "IDENTITY")
        if identity != self.identity:
            if self.identity:
                self.begun += 1
            self.identity = identity
            self._files.clear()
            self.damaged.clear()
        present = {file.name: file for pattern in PATTERNS for file in self.path.glob(pattern)}
        for gone in self._files.keys() - present.keys():
            del self._files[gone]
            self.damaged.pop(gone, None)
        left = bytes_max
        for name, file in sorted(present.items(), key=lambda item: self._last_read_s(item[0])):
            left -= self._look_at(name, file, interval_s, left, now_s)

    def _last_read_s(self, name: str) -> float:
        known = self._files.get(name)
        return known.read_s if known is not None else 0.0

    def _look_at(self, name: str, file: Path, interval_s: float, left: int, now_s: float) -> int:
        """Returns how many bytes of an unchanged file were read."""
        try:
            with file.open("rb") as opened:
                status = os.fstat(opened.fileno())
                stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                known = self._files.get(name)
                if known is None:
                    known = self._files[name] = _File(status.st_ino)
                untouched = stamp == known.stamp
                if untouched and (left <= 0 or now_s - known.read_s < interval_s):
                    return 0
                grows = status.st_size > known.size and known.size > 0
                if grows and now_s - known.read_s < interval_s:
                    return 0
                self._compare(name, known, opened, status.st_size)
                known.stamp, known.read_s = stamp, now_s
                return status.st_size if untouched else 0
        except FileNotFoundError:
            return 0  # compacted away meanwhile

    def _compare(self, name: str, known: _File, opened: IO[bytes], size: int) -> None:
        """Reads all of it; after damage what it says now is not taken for what it ought to say."""
        if size < known.size:
            self.damaged[name] = f"{self.name}/{name}: {known.size - size} bytes shorter than it was"
            return
        hashed = hashlib.sha256()
        for piece in _pieces(opened, known.size):
            hashed.update(piece)
        if hashed.digest() != known.hashed.digest():
            self.damaged[name] = f"{self.name}/{name}: its first {known.size} bytes are not what they were"
            return
        self.damaged.pop(name, None)
        for piece in _pieces(opened, size - known.size):
            hashed.update(piece)
        known.size, known.hashed = size, hashed


def _pieces(opened: IO[bytes], count: int) -> Iterator[bytes]:
    while count > 0:
        piece = opened.read(min(PIECE, count))
        if not piece:
            return
        count -= len(piece)
        yield piece


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


class FleetFiles:
    """The stores of every stage on this machine."""

    def __init__(self, data_dir: Path, interval_s: float, bytes_max: int) -> None:
        self._data_dir = data_dir
        self._interval_s = interval_s
        self._bytes_max = bytes_max
        self._stores: dict[Path, StoreFiles] = {}

    def look(self) -> None:
        """Looks at every store once. Raises OSError where the disk refuses."""
        found = sorted(self._data_dir.glob("*/*/*/store"))
        for gone in self._stores.keys() - set(found):
            del self._stores[gone]
        for path in found:
            store = self._stores.setdefault(path, StoreFiles(path, str(path.relative_to(self._data_dir))))
            store.look(self._interval_s, self._bytes_max // len(found), time.monotonic())

    def begun(self, path: Path) -> int:
        """How often the store of this path was begun anew."""
        store = self._stores.get(path)
        return store.begun if store is not None else 0

    def damaged(self) -> dict[str, str]:
        """Path of a file below the data directory → what is wrong with it."""
        return {f"{s.name}/{name}": text for s in self._stores.values() for name, text in s.damaged.items()}
