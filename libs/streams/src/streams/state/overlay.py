"""Tables as a handler sees them during one batch: reads fall through to the store, writes wait for the commit."""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from operator import itemgetter
from typing import Any, Final

from streams.model.tables import Changelogged, GlobalTable, Table
from streams.state.store import Store, row_key
from streams.state.store_errors import UndecodableRow

_ABSENT: Final = object()
HOT_ROWS_MAX: Final = 50_000
"""Decoded rows kept per table, so that a busy account is decoded once and not once per message."""


def undecodable(table: str, raw: bytes | None, error: Exception) -> UndecodableRow:
    """The error for a stored row that the table's codec does not take."""
    return UndecodableRow(f"a row of table {table} cannot be decoded: {error!r}, bytes {(raw or b'')[:80]!r}")


class OverlayTable:
    """A changelogged table over a store. See ``tables.Table``.

    Values handed out are shared with later readers, so a handler replaces values and never changes one in place.
    """

    def __init__(self, declaration: Changelogged, store: Store) -> None:
        self._declaration = declaration
        self._codec = declaration.codec
        self._prefix = row_key(declaration.name, b"")
        self._store = store
        self._cached = declaration.cached
        self._changed: dict[bytes, Any] = {}
        self._sorted: list[bytes] = []
        """Keys of ``_changed``, as many as there were when rows by prefix were last asked for."""
        self._encoded: dict[bytes, bytes] = {}
        """Encoded rows of the batch; a key is in one of the two."""
        self._hot: dict[bytes, Any] = {}

    def get(self, key: bytes) -> Any | None:
        value = self._changed.get(key, _ABSENT)
        if value is not _ABSENT:
            return value
        if self._encoded and (written := self._encoded.get(key)) is not None:
            return self._codec.decode(written)
        value = self._hot.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._decoded(self._store.get(self._prefix + key))
            if self._cached:
                self._remember({key: value})
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[Any | None]:
        """Asks the store once for all that are not in memory."""
        if not self._cached and not self._changed and not self._encoded:
            return self._stored(keys)
        rows = self._in_memory(keys)
        unknown = [key for key, row in zip(keys, rows, strict=True) if row is _ABSENT]
        if unknown:
            found = self._stored(unknown)
            if self._cached:
                self._remember(dict(zip(unknown, found, strict=True)))
            following = iter(found)
            rows = [next(following) if row is _ABSENT else row for row in rows]
        return rows

    def _in_memory(self, keys: Sequence[bytes]) -> list[Any]:
        """Rows of the keys as written or remembered; _ABSENT where the store has to be asked."""
        rows = list(map(self._hot.get, keys, repeat(_ABSENT)))
        if self._encoded:
            decode = self._codec.decode
            written = map(self._encoded.get, keys)
            rows = [row if raw is None else decode(raw) for row, raw in zip(rows, written, strict=True)]
        if self._changed:
            rows = list(map(self._changed.get, keys, rows))
        return rows

    def _stored(self, keys: Sequence[bytes]) -> list[Any | None]:
        decoded = self._decoded
        found = self._store.get_many(list(map(self._prefix.__add__, keys)))
        if found.count(None) == len(found):
            return found
        return [None if raw is None else decoded(raw) for raw in found]

    def _decoded(self, raw: bytes | None) -> Any | None:
        try:
            return None if raw is None else self._codec.decode(raw)
        except Exception as error:  # a codec may raise anything
            raise undecodable(self._declaration.name, raw, error) from error

    def _remember(self, rows: Mapping[bytes, Any]) -> None:
        if len(self._hot) + len(rows) > HOT_ROWS_MAX:
            self._hot.clear()
        self._hot.update(rows)

    def put(self, key: bytes, value: Any) -> None:
        self._changed[key] = value
        if self._encoded:
            self._encoded.pop(key, None)

    def put_many(self, rows: Mapping[bytes, Any]) -> None:
        self._changed.update(rows)
        for key in self._encoded.keys() & rows.keys():
            del self._encoded[key]

    def put_encoded(self, rows: Mapping[bytes, bytes]) -> None:
        self._encoded.update(rows)
        for key in self._changed.keys() & rows.keys():
            del self._changed[key]
            self._sorted.clear()

    def delete(self, key: bytes) -> None:
        self.put(key, None)

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, Any]]:
        """Lazily, so that who needs the first rows does not pay for the rest."""
        decode = self._codec.decode
        changed = {key: self._changed[key] for key in self._changed_keys(prefix)}
        changed |= {key: decode(raw) for key, raw in self._encoded.items() if key.startswith(prefix)}
        for key, value in heapq.merge(
            self._unchanged(prefix, changed), sorted(changed.items(), key=itemgetter(0)), key=itemgetter(0)
        ):
            if value is not None:
                yield key, value

    def _changed_keys(self, prefix: bytes) -> Iterator[bytes]:
        """In key order. A batch that asks for each of its messages does not look at all its rows each time."""
        keys, known = self._sorted, len(self._sorted)
        if known != len(self._changed):
            keys += islice(self._changed, known, None)  # a dictionary has new keys behind the others
            keys.sort()
        for at in range(bisect_left(keys, prefix), len(keys)):
            if not keys[at].startswith(prefix):
                return
            yield keys[at]

    def _unchanged(self, prefix: bytes, changed: Mapping[bytes, Any]) -> Iterator[tuple[bytes, Any]]:
        cut, decode = len(self._prefix), self._codec.decode
        for stored, raw in self._store.prefix(self._prefix + prefix):
            if (key := stored[cut:]) in changed:
                continue
            try:
                value = decode(raw)
            except Exception as error:  # a codec may raise anything
                raise undecodable(self._declaration.name, raw, error) from error
            yield key, value

    def committed(self) -> "OverlayTable":
        """The same table without what the running batch has written to it."""
        table = OverlayTable(self._declaration, self._store)
        table._hot = self._hot  # what was decoded is committed, here as there
        return table

    def changed_keys(self) -> Iterable[bytes]:
        """Keys that the batch has written to."""
        return (*self._changed, *self._encoded)

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """The batch's writes as changelog rows, one per changed key."""
        encode, prefixed = self._codec.encode, self._prefix.__add__
        made = [(prefixed(key), None if value is None else encode(value)) for key, value in self._changed.items()]
        made += zip(map(prefixed, self._encoded), self._encoded.values(), strict=True)
        return made

    def settle(self) -> None:
        """The batch was committed and stored."""
        if self._cached:
            self._remember(self._changed)
            for key in self._hot.keys() & self._encoded.keys():
                del self._hot[key]
        self.discard()

    def discard(self) -> None:
        """The batch did not happen, or is in the store."""
        self._changed.clear()
        self._sorted.clear()
        self._encoded.clear()


@dataclass(slots=True)
class TaskTables:
    """See ``tables.Tables``."""

    partition: int
    overlays: dict[str, OverlayTable] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)
    shared: Mapping[str, GlobalTable] = field(default_factory=dict)

    def add(self, declaration: Changelogged, store: Store) -> None:
        """Lays a table over the store."""
        self.overlays[declaration.name] = OverlayTable(declaration, store)

    def committed(self) -> "TaskTables":
        """The same tables without what the running batch has written to rows; bulk state changes in place."""
        overlays = {name: table.committed() for name, table in self.overlays.items()}
        return TaskTables(self.partition, overlays, self.states, self.shared)

    def changelogged(self, name: str) -> Table:
        return self.overlays[name]

    def snapshotted(self, name: str) -> Any:
        return self.states[name]

    def globals(self, name: str) -> GlobalTable:
        return self.shared[name]
