"""Rows by which a log is known again: what a commit writes beside its own, and how it is read. See ``identity``."""

from typing import Final
from zlib import crc32

from streams.state.store import LANDMARK_KEY

LOG_KEY: Final = b"@log"


def log_key(topic: str) -> bytes:
    """Key under which the identity of an input topic is kept."""
    return b"%s/%s" % (LOG_KEY, topic.encode())


def meant_for(identity: str, offset: int) -> tuple[bytes, bytes]:
    """The changelog's row that says for which log a commit was meant, and before which offset it cannot stand."""
    return LOG_KEY, b"%b %d" % (identity.encode(), offset)


def landmark(offset: int, key: bytes | None, value: bytes | None, epoch: int = -1) -> tuple[bytes, bytes]:
    """The store's row that names a changelog record. Its epoch is known to who reads it, not to who has written it."""
    return LANDMARK_KEY, b"%d %d %d %b" % (offset, epoch, checksum_of(key, value), key or b"")


def checksum_of(key: bytes | None, value: bytes | None) -> int:
    """By which a record of the changelog is known again; a tombstone has another than an empty value."""
    return crc32(b"\x00" if value is None else b"\x01" + value, crc32(key or b""))
