"""Reads recorded feeds from files, pipes or standard input, plain or compressed, in chunks of bounded size."""

import contextlib
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ingest.archives import MAGIC_BYTES, ByteSource, Notes, archive_magic, unpacked
from ingest.domain.anomalies import Anomaly, AnomalyKind, Report

CHUNK_BYTES: Final = 1 << 20
STANDARD_INPUT: Final = Path("-")
"""The name by which standard input is asked for."""


class RecordedFile:
    """Chunks of the feed from byte ``start`` of the unpacked stream on.

    ``bytes_read`` of ``bytes_total`` are of the file on disk, for a progress bar; a pipe's total is not known, and 0.
    An archive that ends early or is damaged is reported; what came out of it before is given.
    """

    def __init__(self, path: Path, report: Report, *, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = path
        mode = None if path == STANDARD_INPUT else path.stat()
        self._is_regular = mode is not None and stat.S_ISREG(mode.st_mode)
        self.bytes_total = mode.st_size if mode is not None and self._is_regular else 0
        self.bytes_read = 0
        self._report = report
        self._start = start
        self._chunk_bytes = chunk_bytes

    def __iter__(self) -> Iterator[bytes]:
        with self._opened() as opened:
            file = _Named(opened, self.path)
            source = ByteSource(file, self._chunk_bytes)
            skip = self._start
            if skip and self._is_regular and not archive_magic(source.peek(MAGIC_BYTES)):
                opened.seek(skip)
                source, skip = ByteSource(file, self._chunk_bytes), 0
                source.offset = self._start
            for chunk in unpacked(source, self._chunk_bytes, Notes(self._broken, self._passed)):
                self.bytes_read = source.offset
                if skip >= len(chunk):  # an archive cannot be sought in: what was processed is unpacked and passed over
                    skip -= len(chunk)
                    continue
                self._report.bytes_read += len(chunk) - skip
                yield chunk[skip:]
                skip = 0
            self.bytes_read = source.offset

    def _opened(self) -> contextlib.AbstractContextManager[BinaryIO]:
        if self.path == STANDARD_INPUT:
            return contextlib.nullcontext(sys.stdin.buffer)
        return self.path.open("rb")

    def _broken(self, offset: int, what: str) -> None:
        self._report.add(Anomaly(AnomalyKind.BROKEN_ARCHIVE, offset, detail=what))

    def _passed(self, name: str) -> None:
        self._report.skipped[f"{name!r} in the archive, no data by its name"] += 1


class _Named:
    """A file whose errors say which one it is."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, limit: int, /) -> bytes:
        """Raises OSError with the name of the file."""
        try:
            return self._file.read(limit)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
