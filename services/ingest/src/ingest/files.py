"""Reads a recorded feed from disk, plain or gzip, in chunks of bounded size."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report

CHUNK_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31
_SALVAGE_BYTES: Final = 64


class RecordedFile:
    """Chunks of the feed from byte ``start`` of the decompressed stream on.

    ``bytes_read`` of ``bytes_total`` are of the file on disk, for a progress bar. A gzip stream that ends early or is
    damaged is reported; what came out of it before is given.
    """

    def __init__(self, path: Path, report: Report, *, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = path
        self.bytes_total = path.stat().st_size
        self.bytes_read = 0
        self._report = report
        self._start = start
        self._chunk_bytes = chunk_bytes

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            magic = file.read(len(_GZIP_MAGIC))
            file.seek(0)
            yield from self._gzip(file) if magic == _GZIP_MAGIC else self._plain(file)

    def _plain(self, file: BinaryIO) -> Iterator[bytes]:
        file.seek(self._start)
        self.bytes_read = self._start
        while chunk := file.read(self._chunk_bytes):
            self.bytes_read += len(chunk)
            self._report.bytes_read += len(chunk)
            yield chunk

    def _gzip(self, file: BinaryIO) -> Iterator[bytes]:
        skip = self._start  # gzip has no way to seek: what was processed is inflated again and passed over
        for chunk in self._inflate(file):
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            self._report.bytes_read += len(chunk) - skip
            yield chunk[skip:]
            skip = 0

    def _inflate(self, file: BinaryIO) -> Iterator[bytes]:
        """Inflates all members, one after the other."""
        packed = file.read(self._chunk_bytes)
        while packed:
            member = zlib.decompressobj(_GZIP_WINDOW)
            while not member.eof:
                if not packed:
                    packed = file.read(self._chunk_bytes)
                    if not packed:
                        self._broken("the gzip stream ends early")
                        return
                self.bytes_read = file.tell() - len(packed)
                before = member.copy()
                try:
                    chunk = member.decompress(packed, self._chunk_bytes)
                except zlib.error as error:
                    yield from _before_damage(before, packed, self._chunk_bytes)
                    self._broken(str(error))
                    return
                packed = member.unconsumed_tail
                if chunk:
                    yield chunk
            packed = (member.unused_data or file.read(self._chunk_bytes)).lstrip(b"\0")  # padding after the last member
            self.bytes_read = file.tell() - len(packed)

    def _broken(self, detail: str) -> None:
        self._report.add(Anomaly(AnomalyKind.BROKEN_ARCHIVE, self.bytes_read, detail=f"{detail} (offset on disk)"))


def _before_damage(member: Any, packed: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """What comes out before the damage: inflating in one go would keep it back."""
    for at in range(0, len(packed), _SALVAGE_BYTES):
        piece = packed[at : at + _SALVAGE_BYTES]
        while piece:
            try:
                chunk = member.decompress(piece, chunk_bytes)
            except zlib.error:
                return
            if chunk:
                yield chunk
            piece = member.unconsumed_tail
