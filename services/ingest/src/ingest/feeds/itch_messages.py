"""The common part of the feeds of ITCH 5.0 messages: numbered runs of messages into ticks of one reading."""

from collections.abc import Iterator
from typing import Final

from common.contracts.ticks import Ticks
from common.feeds import FeedContext

from ingest.domain.anomalies import Report
from ingest.domain.framing import Block, packet_block
from ingest.domain.moldudp64 import Run, joined
from ingest.feeds.reading import Reading

NASDAQ_ZONE: Final = "America/New_York"


def reading_of(context: FeedContext) -> Reading:
    """The reading behind the context: feeds of ITCH messages share its registry with the exchange's own line."""
    if not isinstance(context, Reading):
        raise TypeError("a feed of ITCH messages is read by ingest alone")
    return context


class MessageRuns:
    """Decodes runs. Locate codes are a session's own; a session after the first numbers on behind it."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._decoder = reading.decoder()
        self._session = ""
        self._behind = 0
        self._last = 0

    @property
    def report(self) -> Report:
        return self.reading.report

    def go_on(self, next_message: int) -> None:
        """A snapshot was read; the line begins with this message, under the same locate codes."""
        self._behind = max(0, self._last - next_message + 1)

    def ticks(self, runs: list[Run]) -> Iterator[Ticks]:
        """Ticks of runs in their order."""
        for run in joined(runs):
            if run.session != self._session:
                if self._session:
                    self._decoder = self.reading.decoder()
                    self._behind = self._last
                self._session = run.session
            yield self.block(packet_block(run.payload, run.count, self._behind + run.first_sequence))

    def finish(self, offset: int) -> None:
        """The source is over at this byte: reports what a whole day has and this one does not."""
        self._decoder.finish(offset, self._last + 1)

    def block(self, block: Block) -> Ticks:
        """Ticks of one block of messages."""
        self._last = block.first_sequence + len(block) - 1
        ticks = self._decoder.decode(block)
        self.reading.announce(self._decoder.take_announcements())
        return ticks
