"""A store in memory that a crash can set back: writes since the last sync may be lost, batch by batch from the end."""

from collections.abc import Iterator, Sequence

from streams.state.store import CHANGELOG_KEY, STORE_ONLY, Rows, number_in
from streams.state.store_errors import CorruptStore, StoreError, StoreFault


class MemoryStore:
    """See ``streams.state.store.Store``. It outlives the task that uses it, as a disk outlives a process."""

    def __init__(self) -> None:
        self._synced: dict[bytes, bytes] = {}
        self._batches: list[list[tuple[bytes, bytes | None]]] = []
        self._rows: dict[bytes, bytes] = {}
        self.age = 0.0
        self.held = False
        """Whether somebody has it open; only who cares sets it."""
        self.damaged: set[bytes] = set()
        """Rows in blocks that cannot be read."""
        self.spoiled: set[bytes] = set()
        """Rows that somebody has changed who may not, and that were not written again since."""
        self.refuses: StoreFault | None = None
        """Why it can be neither opened nor written."""

    def check_open(self) -> None:
        """Raises StoreError where a store on a disk could not be opened."""
        if self.refuses:
            raise StoreError(f"the store refuses ({self.refuses})", self.refuses)

    def get(self, key: bytes) -> bytes | None:
        if key in self.damaged:
            raise CorruptStore(f"the block of {key!r} is damaged")
        return self._rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(key for key in self._rows if key.startswith(prefix)):
            if (value := self.get(key)) is not None:
                yield key, value

    def spoil(self, key: bytes, value: bytes) -> None:
        """The row is another one from now on, and nobody has written it."""
        self._rows[key] = value
        self.spoiled.add(key)

    def write(self, rows: Rows, changelog_offset: int) -> None:
        self.check_open()
        batch = [*rows, (CHANGELOG_KEY, b"%d" % changelog_offset)]
        self._batches.append(batch)
        self.spoiled.difference_update(key for key, _ in batch)
        _apply(self._rows, batch)

    def changelog_offset(self) -> int:
        return number_in(CHANGELOG_KEY, self.get(CHANGELOG_KEY) or b"0")

    def age_s(self) -> float:
        return self.age

    def wipe(self) -> None:
        self._synced, self._batches, self._rows = {}, [], {}
        self.spoiled.clear()

    def close(self) -> None:
        """Keeps everything: closing is no crash."""
        self.held = False

    def crash(self, lost_batches: int) -> None:
        """Power cut: the newest ``lost_batches`` writes are gone, the others are on disk."""
        kept = self._batches[: max(0, len(self._batches) - lost_batches)]
        for batch in kept:
            _apply(self._synced, batch)
        self._batches = []
        self._rows = dict(self._synced)
        self.spoiled.clear()
        self.held = False

    def rows(self) -> dict[bytes, bytes]:
        """Everything that the changelog has, too."""
        return {key: value for key, value in self._rows.items() if key not in STORE_ONLY}


def _apply(rows: dict[bytes, bytes], batch: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in batch:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
