"""GLIMPSE 5.0: where a line's books stand, as a SoupBinTCP session of ITCH messages. No I/O here.

Source: NASDAQ, "GLIMPSE 5.0": directory, trading states and open orders, and at last one message (G) with the sequence
number from which the real-time line goes on.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ingest.domain.anomalies import Report
from ingest.domain.framing import Block
from ingest.domain.soupbintcp import SoupError, SoupStream

END_OF_SNAPSHOT: Final = ord("G")
END_BYTES: Final = 21
"""The type, and the line's next message in 20 digits."""


class SnapshotStream:
    """Cuts a snapshot into blocks of messages, up to its end."""

    def __init__(self) -> None:
        self.next_message = 0
        """Sequence number from which messages of the line count; 0 until the end is read."""
        self._report = Report(examples_max=1)
        self._soup = SoupStream(self._report)

    @property
    def session(self) -> str:
        """Session of the line."""
        return self._soup.session

    @property
    def offset(self) -> int:
        """Bytes read."""
        return self._soup.offset

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Whole messages so far.

        Raises SoupError for what is no packet, for missing messages, a rejected login, an end without a number.
        """
        for block in self._soup.feed(chunk):
            if self._report.losses():
                raise SoupError(f"a snapshot with a hole: {self._report.examples[0]}", self._soup.offset)
            end = _end_of(block)
            if end is None:
                yield block
                continue
            self.next_message = self._next_message(block, end)
            if end:
                yield replace(block, starts=block.starts[:end], lengths=block.lengths[:end])
            return
        if self._soup.ended:
            raise SoupError("the session is over, and the snapshot has no end (G)", self._soup.offset)

    def _next_message(self, block: Block, index: int) -> int:
        start = int(block.starts[index])
        text = block.data[start + 1 : start + END_BYTES].tobytes()
        try:
            found = int(text)
        except ValueError:
            found = 0
        if not 0 < found < 1 << 63:
            raise SoupError(f"the snapshot ends at message {text!r}", block.offset(index))
        return found


def _end_of(block: Block) -> int | None:
    for index in range(len(block)):
        if block.lengths[index] == END_BYTES and block.data[block.starts[index]] == END_OF_SNAPSHOT:
            return index
    return None
