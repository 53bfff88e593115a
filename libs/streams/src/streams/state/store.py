"""One RocksDB per task. Keys of the store are the keys of the changelog, so a restore is a plain copy.

Row key: ``{table}/{key}``; input position: ``@position/{topic}``; ``@layout``: see ``layout``. Only in the store:
``@changelog``, the changelog offset that the store is complete up to; ``@written``, when that was; ``@landmark``, by
which the changelog is known again (see ``identity``); ``@unchecked``, why a row was none when it was restored. One
WriteBatch carries all of them, so a crash leaves them in step.
"""

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from rocksdict import AccessType, BlockBasedOptions, Options, Rdict, ReadOptions, WriteBatch, WriteOptions

from streams.process.logs import get_logger
from streams.state.store_errors import CorruptStore, store_error

_log = get_logger(__name__)
POSITION_PREFIX = b"@position/"
CHANGELOG_KEY = b"@changelog"
WRITTEN_KEY = b"@written"
LANDMARK_KEY = b"@landmark"
UNCHECKED_KEY = b"@unchecked"
LAYOUT_KEY = b"@layout"
STORE_ONLY = frozenset({CHANGELOG_KEY, WRITTEN_KEY, LANDMARK_KEY, UNCHECKED_KEY})
"""Rows of a store that the changelog does not have."""
BLOOM_BITS_PER_KEY = 10.0
_KEY = itemgetter(0)
_IN_ORDER = WriteOptions()
_IN_ORDER.memtable_insert_hint_per_batch = True
"""Each row is looked for from where the last one went: 1.4 µs a row in order, 2.9 without."""

Rows = Iterable[tuple[bytes, bytes | None]]
"""Key and value; None deletes."""


def position_key(topic: str) -> bytes:
    """Key under which the next offset to read of ``topic`` is kept, in the changelog and in the store."""
    return POSITION_PREFIX + topic.encode()


def row_key(table: str, key: bytes) -> bytes:
    """Key of a table's row, in the changelog and in the store."""
    return table.encode() + b"/" + key


class Store(Protocol):
    """A task's view of its store; every write is atomic."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The answers of ``get`` for each."""
        ...

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]: ...

    def write(self, rows: Rows, changelog_offset: int) -> None: ...

    def changelog_offset(self) -> int: ...

    def age_s(self) -> float:
        """How long ago it was written, by the wall clock."""
        ...

    def wipe(self) -> None: ...

    def close(self) -> None: ...


def positions_of(store: Store) -> Mapping[str, int]:
    """Topic → next offset to read, as last committed. Raises StoreError."""
    return {
        key.removeprefix(POSITION_PREFIX).decode(): number_in(key, value)
        for key, value in store.prefix(POSITION_PREFIX)
    }


def number_in(key: bytes, value: bytes) -> int:
    """The number that a row of the runtime's own holds. Raises CorruptStore where it holds none."""
    if not value.isdigit():
        raise CorruptStore(f"the store's row {key!r} is no number: {value[:40]!r}")
    return int(value)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(16 * 1024 * 1024)  # 32 MiB: half a microsecond more for each row that is put in
    options.set_max_write_buffer_number(3)
    # With 2 million ids 2.8 µs a row in all, 2.0 with these three: what a batch changes again is merged before it is
    # flushed, files wait for each other before they are merged, and only what lies deeper is compressed.
    options.set_min_write_buffer_number_to_merge(2)
    options.set_level_zero_file_num_compaction_trigger(8)
    options.set_min_level_to_compress(2)
    options.set_keep_log_file_num(2)
    # An id that was never seen is asked for with each new order: 3.3 µs without filters, 0.5 with them.
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_memtable_whole_key_filtering(True)
    tables = BlockBasedOptions()
    tables.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    options.set_block_based_table_factory(tables)
    return options


def _rows_from(db: Rdict, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every row from ``start`` on. Raises StoreError where a block cannot be read.

    ``items`` alone ends there as if nothing came after it; an iterator that goes on from the last row says why.
    """
    last = start
    for key, value in db.items(from_key=start, read_opt=ReadOptions()):
        yield key, value
        last = key
    rest = db.iter()
    rest.seek(last)
    if rest.valid():
        rest.next()
    try:
        rest.status()
    except Exception as error:  # rocksdict raises bare Exception
        raise store_error(f"cannot read the store on from {last!r}", error) from error


def destroy(path: Path) -> None:
    """Removes a store that nobody has open."""
    shutil.rmtree(path, ignore_errors=True)


class RocksStore:
    """See ``Store``. Every method raises StoreError where RocksDB or the system refuses; which kind says what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = self._open()

    def _open(self) -> Rdict:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            return Rdict(str(self._path), _options(), access_type=AccessType.read_write())
        except Exception as error:  # rocksdict raises bare Exception
            raise store_error(f"cannot open the store {self._path}", error) from error

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:  # rocksdict raises bare Exception
            raise store_error(f"cannot read the store {self._path}", error) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            values: list[bytes | None] = self._db.get(list(keys))
        except Exception as error:  # rocksdict raises bare Exception
            raise store_error(f"cannot read the store {self._path}", error) from error
        return values

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        # total_order_seek is RocksDB's default; keys are in byte order, so the range ends at the first other prefix.
        for key, value in _rows_from(self._db, prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def write(self, rows: Rows, changelog_offset: int) -> None:
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        for key, value in sorted(rows, key=_KEY):  # stable: of one key's rows the last one stays the last
            if value is None:
                batch.delete(key)
            else:
                put(key, value)
        batch.put(CHANGELOG_KEY, b"%d" % changelog_offset)
        batch.put(WRITTEN_KEY, b"%d" % time.time())
        # No fsync: what a power cut loses stands in the changelog, and ``@changelog`` goes back with it.
        try:
            self._db.write(batch, _IN_ORDER)
        except Exception as error:  # rocksdict raises bare Exception
            raise store_error(f"cannot write the store {self._path}", error) from error

    def changelog_offset(self) -> int:
        return number_in(CHANGELOG_KEY, self.get(CHANGELOG_KEY) or b"0")

    def age_s(self) -> float:
        written = self.get(WRITTEN_KEY)
        return time.time() - number_in(WRITTEN_KEY, written) if written else 0.0

    def wipe(self) -> None:
        """Starts from an empty store; the changelog fills it again."""
        self._db.close()
        try:
            shutil.rmtree(self._path)
        except OSError as error:
            raise store_error(f"cannot empty the store {self._path}", error) from error
        self._db = self._open()

    def close(self) -> None:
        try:
            self._db.close()
        except Exception as error:  # rocksdict raises bare Exception
            # A full disk refuses the last flush. What it would have held stands in the changelog.
            _log.warning("store_not_flushed", store=str(self._path), error=str(error))
        del self._db  # gives the directory's lock back, flushed or not


def read_row(path: Path, key: bytes) -> bytes | None:
    """One row of a store that another process may have open. Raises OSError where it cannot be read."""
    try:
        db = Rdict(str(path), _options(), access_type=AccessType.read_only(False))
    except Exception as error:  # rocksdict raises bare Exception
        raise OSError(f"cannot open the store {path}: {error}") from error
    try:
        value: bytes | None = db.get(key)
        return value
    finally:
        db.close()


def read_store(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Every row of a store that another process may have open, as it was when the call began (for the audit)."""
    db = Rdict(str(path), _options(), access_type=AccessType.read_only(False))
    try:
        yield from _rows_from(db, b"")
    finally:
        db.close()


def live_tables(path: Path) -> set[str]:
    """Names of the table files that a store, which another process may have open, is made of now.

    Raises OSError where it cannot be opened, also because one of them is missing: a follower would go back to an older
    version of the store and say nothing.
    """
    try:
        db = Rdict(str(path), _options(), access_type=AccessType.read_only(False))
    except Exception as error:  # rocksdict raises bare Exception
        raise OSError(f"cannot open the store {path}: {error}") from error
    try:
        return {str(file["name"]).removeprefix("/") for file in db.live_files()}
    finally:
        db.close()


class StoreFollower:
    """A store that another process writes, as it was at the last ``catch_up``.

    Nothing of RocksDB's is touched; the binding writes its own ``rocksdict-config.json`` into the store. ``scratch``
    is a directory of the follower's own. Every method raises OSError where RocksDB cannot go on, also because a block's
    checksum is wrong; a follower that was opened anew may be able to.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        try:
            self._db = Rdict(str(path), _options(), access_type=AccessType.secondary(str(scratch)))
        except Exception as error:  # rocksdict raises bare Exception
            raise OSError(f"cannot follow the store {path}: {error}") from error
        self._path = path

    def catch_up(self) -> None:
        """Goes on to what the owner has written by now."""
        with self._translated():
            self._db.try_catch_up_with_primary()

    def get(self, key: bytes) -> bytes | None:
        with self._translated():
            value: bytes | None = self._db.get(key)
            return value

    def prefix(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with ``prefix``, from ``start`` on, in key order."""
        with self._translated():
            for key, value in _rows_from(self._db, max(prefix, start)):
                if not key.startswith(prefix):
                    return
                yield key, value

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # rocksdict raises bare Exception
            raise OSError(f"cannot read the store {self._path}: {error}") from error
