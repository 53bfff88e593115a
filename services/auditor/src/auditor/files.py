"""The files of RocksDB stores: what stands in one never changes, so whatever does is damage.

Table files are written once. The write-ahead log and the manifest only grow. None of that needs the store to be open,
so a byte that RocksDB has cached, or will not read for days, is noticed as well. Names are not used twice while a store
lives; a store that was begun anew has another IDENTITY.

RocksDB itself deletes files that it has done with, so a file that is gone is damage only if the store still needs it:
the manifest that CURRENT names, the log that is written to (the newest one), and the tables that the manifest lists. A
process that has files open does not notice that they were deleted; its next start does.
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

PATTERNS: Final = ("*.sst", "*.log", "MANIFEST-*")
PIECE: Final = 1024 * 1024
GONE_GRACE_S: Final = 3.0
_IS_GONE: Final = "is gone"


@dataclass(slots=True)
class _File:
    """The part of a file that was read: its first ``size`` bytes, as a hash that can be carried on."""

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
    live_tables: Callable[[Path], Collection[str]] | None = None
    """Names of the table files that a store needs. Raises OSError where the store cannot be opened."""
    _files: dict[str, _File] = field(default_factory=dict)
    _gone_tables: set[str] = field(default_factory=set)
    _newest_log: str = ""
    _missing_before: set[str] = field(default_factory=set)

    def look(self, interval_s: float, bytes_max: int, now_s: float) -> None:
        """Reads what is new, what grew (each ``interval_s``), what was touched, and up to ``bytes_max`` of the rest."""
        identity = _content(self.path / "IDENTITY")
        if identity != self.identity:
            if self.identity:
                self.begun += 1
            self.identity = identity
            self._files.clear()
            self._gone_tables.clear()
            self.damaged.clear()
            self._newest_log = ""
            self._missing_before.clear()
        present = {file.name: file for pattern in PATTERNS for file in self.path.glob(pattern)}
        for gone in self._files.keys() - present.keys():
            del self._files[gone]
            self.damaged.pop(gone, None)
            if gone.endswith(".sst"):
                self._gone_tables.add(gone)
        self._look_for_missing(present)
        left = bytes_max
        for name, file in sorted(present.items(), key=lambda item: self._last_read_s(item[0])):
            left -= self._look_at(name, file, interval_s, left, now_s)

    def _look_for_missing(self, present: Mapping[str, Path]) -> None:
        """Finds files that are not there although the store still needs them."""
        manifest = _content(self.path / "CURRENT").decode("ascii", "replace").strip()
        missing = {"CURRENT"} if not manifest and self._files else {manifest} - {*present, ""}
        logs = sorted((name for name in present if name.endswith(".log")), key=_number)
        if self._newest_log and (not logs or _number(logs[-1]) < _number(self._newest_log)):
            missing.add(self._newest_log)
        elif logs:
            self._newest_log = logs[-1]
        missing |= self._missing_tables(present)
        for name in [name for name, text in self.damaged.items() if text.endswith(_IS_GONE)]:
            del self.damaged[name]
        # Twice in a row: a store that is begun anew, or merges its tables, is not whole for a moment.
        self.damaged |= {name: f"{self.name}/{name} {_IS_GONE}" for name in missing & self._missing_before}
        self._missing_before = missing

    def _missing_tables(self, present: Mapping[str, Path]) -> set[str]:
        """Tables are merged and deleted all the time; the store is asked only when some have gone."""
        self._gone_tables -= present.keys()
        if not self._gone_tables or self.live_tables is None:
            return set()
        try:
            live = self.live_tables(self.path)
        except OSError:
            return set(self._gone_tables)  # a store whose files are all there can be opened
        self._gone_tables &= set(live)
        return set(self._gone_tables)

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


def _number(name: str) -> int:
    """A log's number; RocksDB counts them."""
    digits = name.partition(".")[0]
    return int(digits) if digits.isdigit() else -1


class FleetFiles:
    """The stores of every stage on this machine. A directory that was there must stay, or come back within the grace:
    the worker that finds its store damaged begins it anew.
    """

    def __init__(
        self,
        data_dir: Path,
        interval_s: float,
        bytes_max: int,
        live_tables: Callable[[Path], Collection[str]] | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._live_tables = live_tables
        self._gone_since_s: dict[Path, float] = {}
        self._gone: dict[str, str] = {}
        self._interval_s = interval_s
        self._bytes_max = bytes_max
        self._stores: dict[Path, StoreFiles] = {}

    def look(self) -> None:
        """Looks at every store once. Raises OSError where the disk refuses."""
        replicas = self._data_dir.glob("*/*/*/*/store")
        found = sorted([*self._data_dir.glob("*/*/*/store"), *replicas])
        now_s = time.monotonic()
        self._look_for_gone(set(found), now_s)
        for path in found:
            name = str(path.relative_to(self._data_dir))
            store = self._stores.setdefault(path, StoreFiles(path, name, live_tables=self._live_tables))
            store.look(self._interval_s, self._bytes_max // len(found), now_s)

    def _look_for_gone(self, found: Collection[Path], now_s: float) -> None:
        for path in found:
            self._gone_since_s.pop(path, None)
        for path in self._stores.keys() - found:
            self._stores[path].begun += 1  # whatever is there next is another store
            self._gone_since_s.setdefault(path, now_s)
        self._gone = {
            self._stores[path].name: f"{self._stores[path].name}: the directory {_IS_GONE}"
            for path, since_s in self._gone_since_s.items()
            if now_s - since_s >= GONE_GRACE_S
        }

    def begun(self, path: Path) -> int:
        """How often the store of this path was begun anew."""
        store = self._stores.get(path)
        return store.begun if store is not None else 0

    def damaged(self) -> dict[str, str]:
        """Path of a file below the data directory → what is wrong with it."""
        found = {f"{s.name}/{name}": text for s in self._stores.values() for name, text in s.damaged.items()}
        return found | self._gone
