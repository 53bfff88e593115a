"""Table declarations, and the faces that a handler sees.

Three kinds. Changelogged: money; every commit carries the changed rows. Snapshotted: bulk state, saved now and then
with its input position and rebuilt by replay. Global: a read-only copy of a compacted topic in every process.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from streams.model.topics import Topic

S = TypeVar("S")
FIRST_VERSION: Final = 1
"""Layout version of rows that no release has changed yet."""


def _code_of(function: Any) -> str:
    """The same for the same source under the same Python."""
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{type(function).__name__} {getattr(function, '__qualname__', '')}"
    consts = [const for const in code.co_consts if not hasattr(const, "co_code")]
    return f"{code.co_code.hex()} {consts!r} {code.co_names!r}"


@dataclass(frozen=True, slots=True)
class Codec:
    """How a row's value becomes bytes and back."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    layout: Callable[[], Any] | None = None
    """Shape of a row, as JSON has it: for the exported contracts, and to notice that it has changed."""

    def describe(self) -> str:
        """The layout, or where it is not declared what the decoder's code is: a change shows, though not which one."""
        return json.dumps(self.layout(), sort_keys=True) if self.layout else _code_of(self.decode)


JSON_CODEC: Final = Codec(msgspec.json.encode, msgspec.json.decode)
"""Codec of whatever JSON can say: numbers, strings, lists and objects."""


@dataclass(frozen=True, slots=True)
class Changelogged:
    """Rows in RocksDB, written only by the commit; one changelog record per changed key and batch.

    ``cached``: decoded rows stay in memory. Not worth its memory where most rows are read once, like ids looked up.
    """

    name: str
    codec: Codec = JSON_CODEC
    cached: bool = True


@dataclass(frozen=True, slots=True)
class SnapshotLayout:
    """A snapshot's word about itself."""

    name: str
    """Layout id. Empty: written by a release that said none."""
    version: int
    declared: Mapping[str, Any]
    """Declarations under which the state was made, as its table put them."""

    def __str__(self) -> str:
        return f"{self.name} version {self.version}" if self.name else f"version {self.version}"


def _nothing(_state: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Snapshotted(Generic[S]):
    """One state object per partition. ``save`` writes into an empty directory, ``load`` reads it back whole; it is told
    the layout of what it reads, and migrates the older ones, from ``oldest`` on.
    """

    name: str
    create: Callable[[int], S]
    save: Callable[[S, Path], None]
    load: Callable[[Path, SnapshotLayout], S]
    interval_s: float = 30.0
    version: int = 1
    """Version of the saved state. A snapshot of a newer version, or of one older than ``oldest``, is Refused."""
    oldest: int = 1
    declare: Callable[[S], Mapping[str, Any]] = _nothing
    """Declarations that the state is made under, kept beside it as JSON: a restored state must not overrule them."""


@dataclass(frozen=True, slots=True)
class Global:
    """The newest value per key of a compacted topic, complete before the first message is handled."""

    name: str
    topic: Topic


TableDeclaration = Changelogged | Snapshotted[Any] | Global
Migration = Mapping[str, Callable[[bytes, bytes], bytes | None]]
"""Changelogged table → what a row becomes in the next layout, of its key and its bytes; None: it is no more."""
Verify = Mapping[str, Callable[[bytes, Any], None]]
"""Changelogged table → what a restored row's key and value are held to; it raises where they do not hold."""


class Table(Protocol):
    """Handler's face of a changelogged table. The batch sees its writes at once, others after the commit."""

    def get(self, key: bytes) -> Any | None: ...

    def get_many(self, keys: Sequence[bytes]) -> list[Any | None]:
        """The answers of ``get`` for each."""
        ...

    def put(self, key: bytes, value: Any) -> None: ...

    def put_many(self, rows: Mapping[bytes, Any]) -> None:
        """``put`` of each."""
        ...

    def put_encoded(self, rows: Mapping[bytes, bytes]) -> None:
        """Writes rows that are encoded already, by whoever makes thousands of them at once."""
        ...

    def delete(self, key: bytes) -> None: ...

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, Any]]:
        """Rows whose key begins with ``prefix``, in key order."""
        ...


@dataclass(frozen=True, slots=True)
class GlobalRow:
    """A value and where it stands in the log."""

    value: Any
    partition: int
    offset: int


class GlobalTable(Protocol):
    """Handler's face of a global table."""

    def get(self, key: bytes) -> GlobalRow | None: ...

    def items(self) -> Iterator[tuple[bytes, GlobalRow]]: ...


class Tables(Protocol):
    """Tables that a handler may touch, by the declared names. A handler must not keep any of it between calls."""

    partition: int

    def changelogged(self, name: str) -> Table: ...

    def snapshotted(self, name: str) -> Any: ...

    def globals(self, name: str) -> GlobalTable: ...
