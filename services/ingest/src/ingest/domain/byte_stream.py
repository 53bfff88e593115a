"""A stream that comes in pieces, read by records: the bytes at hand, and their place in the stream."""

from collections.abc import Iterator


class ByteStream:
    """Gives ``size`` bytes at a time. Holds a record and a piece at most."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.offset = 0
        """Bytes given so far."""
        self._chunks = chunks
        self._held = b""
        self._at = 0

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer where the stream ends before; they are not taken."""
        while len(self._held) - self._at < size:
            more = next(self._chunks, None)
            if more is None:
                break
            self._held = self._held[self._at :] + more
            self._at = 0
        return self._held[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """The next bytes, fewer where the stream ends before."""
        taken = self.peek(size)
        self._at += len(taken)
        self.offset += len(taken)
        return taken

    def pieces(self) -> Iterator[bytes]:
        """The rest of the stream."""
        if self._at < len(self._held):
            rest = self._held[self._at :]
            self._held, self._at = b"", 0
            yield rest
        yield from self._chunks
