"""Troubles of a store, told from the words of RocksDB or the system, and the remedy of each.

=========  ===============================================  ======================================================
fault      it is                                            what follows
=========  ===============================================  ======================================================
damaged    checksums, files missing or of another shape,    that store is discarded and restored from its changelog
           rows of the runtime's own that are none
full       no space, a quota, a limit on file sizes         it is said and tried again; another worker takes over
denied     permissions, a read-only or foreign directory    the same
locked     another process or task has it open              the same
failing    anything else: the disk, files that may be open  the same
=========  ===============================================  ======================================================

A store of a newer RocksDB is damaged to an older one: what it holds is in the changelog, too.
"""

import errno
from enum import StrEnum
from typing import Final


class StoreFault(StrEnum):
    """Kind of a store's trouble; see the module."""

    DAMAGED = "damaged"
    FULL = "full"
    DENIED = "denied"
    LOCKED = "locked"
    FAILING = "failing"


class StoreError(OSError):
    """A store cannot be opened, read or written."""

    def __init__(self, text: str, fault: StoreFault) -> None:
        super().__init__(text)
        self.fault = fault


class CorruptStore(StoreError):
    """The files are not a store any more; the changelog still has all of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, StoreFault.DAMAGED)


class UndecodableRow(CorruptStore):
    """A table's row is none to the table's codec: that is no message's fault."""


_ERRNO: Final = {
    errno.ENOSPC: StoreFault.FULL,
    errno.EDQUOT: StoreFault.FULL,
    errno.EFBIG: StoreFault.FULL,
    errno.EACCES: StoreFault.DENIED,
    errno.EPERM: StoreFault.DENIED,
    errno.EROFS: StoreFault.DENIED,
    errno.ENOTDIR: StoreFault.DENIED,
    errno.EEXIST: StoreFault.DENIED,
    errno.ENOLCK: StoreFault.LOCKED,
}
_SAID: Final = (
    (StoreFault.FULL, ("No space left", "Disk quota exceeded", "File too large", "NoSpace")),
    (StoreFault.DENIED, ("Permission denied", "Operation not permitted", "Read-only file system", "Not a directory")),
    (StoreFault.LOCKED, ("/LOCK: ", "No locks available", "lock hold by")),
    (StoreFault.FAILING, ("Too many open files", "Cannot allocate memory", "Stale file handle")),
    (StoreFault.DAMAGED, ("Corruption", "Invalid argument", "Not implemented", "No such file or directory")),
    # A sector that cannot be read is written elsewhere by a restore; where that fails, too, the disk is failing.
    (StoreFault.DAMAGED, ("Input/output error", "Is a directory", "Structure needs cleaning")),
)
"""Pieces of RocksDB's messages, the first that is found counts: what the system refuses is no damage, though RocksDB
may call it one ("Corruption: … Too many open files")."""


def fault_of(error: Exception) -> StoreFault:
    """By the number of the system's error, or by what RocksDB says: rocksdict raises bare ``Exception``."""
    if isinstance(error, StoreError):
        return error.fault
    if isinstance(error, OSError) and error.errno is not None:
        return _ERRNO.get(error.errno, StoreFault.FAILING)
    text = str(error)
    return next((fault for fault, pieces in _SAID if any(p in text for p in pieces)), StoreFault.FAILING)


def store_error(what: str, error: Exception) -> StoreError:
    """``error`` as one of this module's, with what was tried before it."""
    fault = fault_of(error)
    text = f"{what}: {error}"
    return CorruptStore(text) if fault is StoreFault.DAMAGED else StoreError(f"{text} ({fault})", fault)
