"""A stream of bytes as lines, each with its place. No I/O here."""

from collections.abc import Iterable, Iterator
from typing import Final

LINE_BYTES_MAX: Final = 16 << 20
"""A line that is longer is damage: it is given in pieces of this size."""


def lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line without its end) of every line that is not empty; the last one may have no end."""
    offset, held = 0, b""
    for chunk in chunks:
        held += chunk
        parts = held.split(b"\n")
        held = parts.pop()
        for part in parts:
            if line := part.rstrip(b"\r"):
                yield offset, line
            offset += len(part) + 1
        if len(held) > LINE_BYTES_MAX:
            yield offset, held
            offset += len(held)
            held = b""
    if line := held.rstrip(b"\r"):
        yield offset, line
