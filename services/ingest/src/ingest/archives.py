"""Unpacks compressed files as they are read, front to back: gzip, bzip2, xz, zstd and zip, in memory of a fixed size.

What comes out before an early end or a damaged place is given, and the damage is said with its offset in the file. An
archive within an archive is unpacked, too.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ingest.domain.framing import FramingError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor as ZstdDecompressor
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdDecompressor as ZstdDecompressor
    from backports.zstd import ZstdError

FIRST_SLICE_BYTES: Final = 512
"""Size of a member's first slice: one of a few bytes then costs no copy of all that follows it."""
SLICE_BYTES: Final = 16 << 10
"""Size of its later slices. Out of a slice in which damage is met comes nothing, unless it is done again."""
_SALVAGE_BYTES: Final = 64
_DAMAGE: Final = (zlib.error, lzma.LZMAError, ZstdError, OSError, EOFError, ValueError)

Broken = Callable[[int, str], None]
"""Called with the offset in the file and what is wrong there."""
NESTED_MAX: Final = 3
"""Archives within each other that are unpacked."""


class Readable(Protocol):
    """A file, a pipe, or what comes out of an archive."""

    def read(self, limit: int, /) -> bytes:
        """At most ``limit`` bytes; none at the end."""
        ...


def _passed_silently(name: str) -> None:
    """Takes no note of a member that is passed over."""


@dataclass(frozen=True, slots=True)
class Notes:
    """The receiver of what is found in an archive beside its content."""

    broken: Broken
    passed: Callable[[str], None] = _passed_silently
    """Called with the name of a member that holds no data of the feed."""

    def within(self, depth: int) -> "Notes":
        """Those of an archive in ``depth`` others, each of which says what its offsets count."""
        where = "the file" if not depth else "the archive within it" if depth == 1 else "the innermost archive"

        def broken(offset: int, what: str) -> None:
            self.broken(offset, f"{what} (offset in {where})")

        return Notes(broken, self.passed)


class ArchiveError(FramingError):
    """The archive is of a kind that cannot be read at all."""


class Inflate:
    """zlib with the interface of the other codecs. ``window``: 31 for gzip, -15 for what zip holds."""

    def __init__(self, window: int, member: Any = None) -> None:
        self._window = window
        self._member = member or zlib.decompressobj(window)
        self._tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._member.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._member.unused_data)

    @property
    def needs_input(self) -> bool:
        return not self._tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        held = self._tail + data if self._tail else data
        out: bytes = self._member.decompress(held, max_length)
        self._tail = self._member.unconsumed_tail
        return out

    def copy(self) -> "Inflate":
        """The same state once more, to go back to."""
        twin = Inflate(self._window, self._member.copy())
        twin._tail = self._tail
        return twin


CODECS: Final[dict[bytes, Callable[[], Any]]] = {
    b"\x1f\x8b": lambda: Inflate(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
    b"\x28\xb5\x2f\xfd": ZstdDecompressor,
}
"""Magic number of a member → what unpacks it."""
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC: Final = b"PK\x03\x04"
MAGIC_BYTES: Final = 6
"""The longest of the magic numbers."""


class ByteSource:
    """Bytes of a file or a pipe from front to back, of which some may be given back."""

    def __init__(self, file: Readable, chunk_bytes: int) -> None:
        self.offset = 0
        """Offset of the next byte."""
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._held = b""
        self._at = 0

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes; none at the end."""
        if self._at == len(self._held):
            self._held, self._at = self._file.read(self._chunk_bytes), 0
        out = self._held[self._at : self._at + limit]
        self._at += len(out)
        self.offset += len(out)
        return out

    def exactly(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end."""
        parts = []
        while size and (part := self.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def unread(self, data: bytes) -> None:
        """Gives bytes back, the last ones read."""
        self.offset -= len(data)
        if self._held[self._at - len(data) : self._at] == data:
            self._at -= len(data)
        else:
            self._held, self._at = data + self._held[self._at :], 0

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end."""
        data = self.exactly(size)
        self.unread(data)
        return data


class _Content:
    """Chunks of an archive's content, to be read like a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _limit: int, /) -> bytes:
        return next(self._chunks, b"")


def archive_magic(head: bytes) -> bytes | None:
    """The magic number of the archive that begins with ``head``; None where it is none that is unpacked."""
    if _is_skippable(head):
        return ZSTD_MAGIC
    return next((magic for magic in (ZIP_MAGIC, *CODECS) if head.startswith(magic)), None)


def unpacked(source: ByteSource, chunk_bytes: int, notes: Notes) -> Iterator[bytes]:
    """The content of a file: unpacked where it is an archive, else as it is. Raises ArchiveError."""
    for depth in range(NESTED_MAX):
        magic = archive_magic(source.peek(MAGIC_BYTES))
        if magic is None:
            break
        content = _content(source, magic, chunk_bytes, notes.within(depth))
        source = ByteSource(_Content(content), chunk_bytes)
    while chunk := source.read(chunk_bytes):
        yield chunk


def _content(source: ByteSource, magic: bytes, chunk_bytes: int, notes: Notes) -> Iterator[bytes]:
    if magic == ZIP_MAGIC:
        from ingest.zip_stream import unzipped

        return unzipped(source, chunk_bytes, notes)
    return _members(source, magic, chunk_bytes, notes.broken)


def _members(source: ByteSource, magic: bytes, chunk_bytes: int, broken: Broken) -> Iterator[bytes]:
    """All members one after the other. Zeros between them and after the last one are padding."""
    is_whole = True
    while is_whole:
        is_whole = magic != ZSTD_MAGIC or _skipped(source, broken)
        head = source.peek(len(magic))
        if not is_whole or head != magic:
            if is_whole and head:
                broken(source.offset, "what follows the last member is no archive")
            return
        is_whole = yield from member(source, CODECS[magic], chunk_bytes, broken)
        while (padding := source.read(SLICE_BYTES)) and not padding.strip(b"\0"):
            pass
        source.unread(padding.lstrip(b"\0"))


def _is_skippable(head: bytes) -> bool:
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"


def _skipped(source: ByteSource, broken: Broken) -> bool:
    """Passes over zstd's skippable frames (RFC 8878, 3.1.2), as pzstd and seekable files have them.

    Returns whether they are whole.
    """
    while _is_skippable(source.peek(4)):
        head = source.exactly(8)
        left = int.from_bytes(head[4:], "little")
        while left and (passed := source.read(min(left, SLICE_BYTES))):
            left -= len(passed)
        if left or len(head) < 8:
            broken(source.offset, "the archive ends early")
            return False
    return True


def member(
    source: ByteSource, codec: Callable[[], Any], chunk_bytes: int, broken: Broken
) -> Generator[bytes, None, bool]:
    """One member. Returns whether it is whole; what follows it in the file stays in ``source``."""
    unpacker = codec()
    size = FIRST_SLICE_BYTES
    while not unpacker.eof:
        data = source.read(size)
        if not data:
            broken(source.offset, "the archive ends early")
            return False
        before = codec() if size == FIRST_SLICE_BYTES else _copied(unpacker)
        try:
            yield from _taken(unpacker, data, chunk_bytes)
        except _DAMAGE as error:
            yield from _salvaged(before, data, chunk_bytes)
            broken(source.offset - len(data), f"{error or type(error).__name__} (within {len(data)} bytes)")
            return False
        size = SLICE_BYTES
    source.unread(unpacker.unused_data)
    return True


def _taken(unpacker: Any, data: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """Content of one slice of a member, in chunks of bounded size. Nothing is given if the first step fails."""
    while True:
        chunk = unpacker.decompress(data, chunk_bytes)
        if chunk:
            yield chunk
        if unpacker.eof or unpacker.needs_input:
            return
        data = b""


def _copied(unpacker: Any) -> Any:
    return unpacker.copy() if isinstance(unpacker, Inflate) else None


def _salvaged(before: Any, data: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """Content that comes out before the damage, to the byte: unpacking a slice at once would keep it back."""
    if before is None:
        return
    for at in range(0, len(data), _SALVAGE_BYTES):
        piece, last = data[at : at + _SALVAGE_BYTES], _copied(before)
        try:
            yield from _taken(before, piece, chunk_bytes)
        except _DAMAGE:
            if last is not None:
                yield from _by_byte(last, piece, chunk_bytes)
            return


def _by_byte(unpacker: Any, piece: bytes, chunk_bytes: int) -> Iterator[bytes]:
    for at in range(len(piece)):
        try:
            yield from _taken(unpacker, piece[at : at + 1], chunk_bytes)
        except _DAMAGE:
            return
