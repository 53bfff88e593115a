"""Rows of the gate's stores, read beside the gate: RocksDB follows a store that another process writes."""

import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from common.ledger.chain import Head
from common.ledger.gate_rows import (
    ACCOUNTS,
    CHAIN,
    POSITIONS,
    GateAccount,
    GatePosition,
    balance_of,
    decoded,
    gate_stores,
    head_of,
)
from streams.state.store import StoreFollower

from auditor.domain.compare import Kind, Look, Seen
from auditor.domain.place import Place

STORE = "rocksdb"
FAILING_MAX_S = 3.0


class _GateStore:
    """One partition."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.partition = int(path.parent.name)
        self.head: Head | None = None
        self._store = StoreFollower(path, scratch)
        self._cursor = b""

    def close(self) -> None:
        self._store.close()

    def look(self, keys: Iterable[str], known: Callable[[str], bool], rows_max: int) -> list[Seen]:
        """The rows of the keys, and of those among the next ``rows_max`` accounts that the log does not know."""
        self._store.catch_up()
        value = self._store.get(CHAIN)
        self.head = head_of(value) if value is not None else None
        return [self._seen(key) for key in {*keys, *self._strangers(known, rows_max)}]

    def _strangers(self, known: Callable[[str], bool], rows_max: int) -> list[str]:
        page = [key for key, _ in islice(self._store.prefix(ACCOUNTS, self._cursor), rows_max)]
        self._cursor = page[-1] + b"\0" if len(page) == rows_max else b""
        names = (key.removeprefix(ACCOUNTS).decode("utf-8", "replace") for key in page)
        return [name for name in names if not known(name)]

    def _seen(self, key: str) -> Seen:
        value = self._store.get(ACCOUNTS + key.encode())
        if value is None:
            return Seen(Kind.ACCOUNT, key, 0, None)
        prefix = POSITIONS + key.encode() + b"/"
        try:
            account: GateAccount = decoded("accounts", value)
            positions: dict[str, GatePosition] = {
                place.removeprefix(prefix).decode(): decoded("positions", row)
                for place, row in self._store.prefix(prefix)
            }
        except ValueError as error:
            return Seen(Kind.ACCOUNT, key, 0, f"cannot be read: {error}")
        return Seen(Kind.ACCOUNT, key, account.seq, balance_of(account, positions))


class GateStores:
    """Every partition of the gate that has its store on this machine."""

    def __init__(self, data_dir: Path, scratch: Path) -> None:
        self._data_dir = data_dir
        self._scratch = scratch
        self._open: dict[Path, tuple[int, _GateStore]] = {}
        self._opened = 0
        self._failing_since_s: dict[Path, float] = {}
        self.unreadable: dict[str, str] = {}
        """Store → why it cannot be read, for some time now or because its content is damaged."""

    def close(self) -> None:
        for _, store in self._open.values():
            store.close()
        self._open.clear()

    def look(
        self,
        by_partition: Callable[[int], Iterable[str]],
        known: Callable[[str], bool],
        begun: Callable[[Path], int],
        rows_max: int,
    ) -> Look:
        """Looks at every store; one that was begun anew, or failed, is opened again. Runs in a thread of its own."""
        rows: list[Seen] = []
        self.unreadable.clear()
        paths = gate_stores(self._data_dir)
        for gone in self._open.keys() - set(paths):
            self._open.pop(gone)[1].close()
        for path in paths:
            try:
                store = self._store(path, begun(path))
                rows += store.look(by_partition(store.partition), known, rows_max)
                self._failing_since_s.pop(path, None)
            except OSError as error:
                self._fail(path, error)
        return Look(STORE, rows, self._reached)

    def _fail(self, path: Path, error: OSError) -> None:
        """A follower fails now and then over files that were just compacted away; opened anew it goes on."""
        if path in self._open:
            self._open.pop(path)[1].close()
        now_s = time.monotonic()
        since_s = self._failing_since_s.setdefault(path, now_s)
        if "Corruption" in str(error) or now_s - since_s >= FAILING_MAX_S:
            self.unreadable[str(path.relative_to(self._data_dir))] = str(error)

    def _store(self, path: Path, begun: int) -> _GateStore:
        known = self._open.get(path)
        if known is not None and known[0] == begun:
            return known[1]
        if known is not None:
            known[1].close()
            del self._open[path]
        self._opened += 1
        store = _GateStore(path, self._scratch / str(self._opened))
        self._open[path] = (begun, store)
        return store

    def heads(self) -> list[tuple[int, Head]]:
        """Partition and last link of the ledger, as each store had it."""
        return [(store.partition, store.head) for _, store in self._open.values() if store.head is not None]

    def _reached(self, kind: str, place: Place) -> bool:
        """Whether a store of the partition has the account's last entry, by the entry's number in the chain."""
        heads = [head.seq for partition, head in self.heads() if partition == place.partition]
        return bool(heads) and max(heads) >= place.chain_seq
