"""Unpacks a zip archive from front to back, so that a pipe will do and a truncated archive gives what it still has.

Every member has a header of its own before it (PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", 4.3.7); the list
of members at the archive's end is not needed. Several members follow each other in the archive's order.
"""

import bz2
import re
import struct
import zlib
from collections.abc import Generator, Iterator
from typing import Any, Final, NamedTuple

from ingest.archives import ZIP_MAGIC, ArchiveError, ByteSource, Inflate, Notes, ZstdDecompressor, member

_HEADER: Final = struct.Struct("<4sHHHHHIIIHH")
_DESCRIPTOR_MAGIC: Final = b"PK\x07\x08"
_ENDS: Final = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
"""Signatures of what follows the last member."""
_STORED: Final = 0
_CODECS: Final[dict[int, Any]] = {8: lambda: Inflate(-15), 12: bz2.BZ2Decompressor, 93: ZstdDecompressor}
_ENCRYPTED, _SIZES_FOLLOW = 1, 8
_ZIP64: Final = 0xFFFFFFFF
_RESOURCE_FORKS: Final = "__MACOSX"
_NO_DATA: Final = re.compile(
    r"(^|/)(\.[^/]*|(read ?me|licen[cs]e|notice|changelog|manifest)[^/]*|[^/]*\.(md|pdf|md5|sha(1|256|512)?|asc|sig))$",
    re.IGNORECASE,
)
"""Names of what people put beside the data: a member of such a name is none of the feed's files."""


class _Member(NamedTuple):
    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int


def unzipped(source: ByteSource, chunk_bytes: int, notes: Notes) -> Iterator[bytes]:
    """Content of all members that hold data by their names.

    Raises ArchiveError for what is encrypted or packed in a way that is not known here.
    """
    broken = notes.broken
    while source.peek(len(ZIP_MAGIC)) == ZIP_MAGIC:
        begin = source.offset
        found = _header(source)
        if found is None:
            broken(begin, "the archive ends early")
            return
        crc = 0
        is_wanted = not found.name.endswith("/") and not found.name.startswith(_RESOURCE_FORKS)
        if is_wanted and _NO_DATA.search(found.name):
            is_wanted = False
            notes.passed(found.name)
        content = _stored(source, found, chunk_bytes) if found.method == _STORED else None
        is_whole = True
        chunks = content if content is not None else member(source, _codec(found), chunk_bytes, broken)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as over:
                is_whole = bool(over.value)
                break
            crc = zlib.crc32(chunk, crc)
            if is_wanted:
                yield chunk
        if not is_whole:
            if content is not None:
                broken(source.offset, "the archive ends early")
            return
        if (_descriptor(source, found.crc) if found.flags & _SIZES_FOLLOW else found.crc) != crc:
            broken(begin, f"{found.name!r} is damaged: its checksum differs")
    if source.peek(len(ZIP_MAGIC)) not in _ENDS:
        broken(source.offset, "the archive ends early, or is damaged")


def _header(source: ByteSource) -> _Member | None:
    """The header of a member; None if it is cut off."""
    raw = source.exactly(_HEADER.size)
    if len(raw) < _HEADER.size:
        return None
    _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _HEADER.unpack(raw)
    name, extra = source.exactly(name_bytes), source.exactly(extra_bytes)
    if len(extra) < extra_bytes:
        return None
    if packed == _ZIP64:
        packed = _zip64_size(extra, after_size=size == _ZIP64)
    found = _Member(name.decode("utf-8", "replace"), flags, method, crc, packed)
    if flags & _ENCRYPTED:
        raise ArchiveError(f"{found.name!r} in the zip archive is encrypted", source.offset)
    return found


def _zip64_size(extra: bytes, *, after_size: bool) -> int:
    """The packed size in the extra field of a member of more than 4 GiB."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        place = at + 4 + (8 if after_size else 0)
        if kind == 1 and place + 8 <= at + 4 + size:
            return int(struct.unpack_from("<Q", extra, place)[0])
        at += 4 + size
    return _ZIP64


def _codec(found: _Member) -> Any:
    if found.method not in _CODECS:
        raise ArchiveError(f"{found.name!r} in the zip archive is packed by method {found.method}: unpack it first", 0)
    return _CODECS[found.method]


def _stored(source: ByteSource, found: _Member, chunk_bytes: int) -> Generator[bytes, None, bool]:
    """A member that is not packed. Returns whether it is whole."""
    if found.flags & _SIZES_FOLLOW and not found.packed_bytes:
        raise ArchiveError(
            f"{found.name!r} in the zip archive does not say how long it is: unpack it first", source.offset
        )
    left = found.packed_bytes
    while left:
        chunk = source.read(min(left, chunk_bytes))
        if not chunk:
            return False
        left -= len(chunk)
        yield chunk
    return True


def _descriptor(source: ByteSource, otherwise: int) -> int:
    """The checksum that stands behind a member. Its signature is optional, and sizes are of 4 or 8 bytes."""
    head = source.peek(28)
    begin = 4 if head.startswith(_DESCRIPTOR_MAGIC) else 0
    if len(head) < begin + 12:
        return otherwise
    is_long = head[begin + 12 : begin + 14] != b"PK" and head[begin + 20 : begin + 22] == b"PK"
    source.exactly(begin + (20 if is_long else 12))
    return int.from_bytes(head[begin : begin + 4], "little")
