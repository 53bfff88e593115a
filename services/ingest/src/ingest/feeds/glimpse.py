"""A late join: a GLIMPSE snapshot over SoupBinTCP, then the line from the message that the snapshot names.

Source: NASDAQ, "GLIMPSE 5.0": the snapshot is a SoupBinTCP session of ITCH messages (directory, trading states, open
orders), and its last one (G) has the sequence number from which the real-time line goes on.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from common.contracts.ticks import Ticks
from common.feeds import FeedContext, FeedReader, FeedUnreadable

from ingest.domain.anomalies import Report
from ingest.domain.framing import Block
from ingest.domain.moldudp64 import parse_packet
from ingest.domain.soupbintcp import SoupError, SoupStream
from ingest.feeds.captures import CapturedLine, Place, datagrams, line_ticks
from ingest.feeds.itch_messages import NASDAQ_ZONE, MessageRuns, reading_of

END_OF_SNAPSHOT: Final = ord("G")
END_BYTES: Final = 21
KNOWN: Final = "messages of the line that the snapshot has"


def snapshot_ticks(context: FeedContext, runs: MessageRuns, stream: SoupStream) -> Iterator[tuple[Ticks, int]]:
    """(ticks, 0), and at last (ticks, the line's next message). Raises FeedUnreadable where the snapshot has no end."""
    source = context.sources[0]
    try:
        for chunk in context.chunks(source):
            for block in stream.feed(chunk):
                end = _end_of(block)
                if end is None:
                    yield runs.block(block), 0
                    continue
                yield runs.block(_first(block, end)), _next_message(block, end, source)
                return
    except SoupError as error:
        raise FeedUnreadable(f"{source}: {error}", error.offset) from error
    raise FeedUnreadable(f"{source}: the snapshot has no end (G): what follows it is not known", stream.offset)


def _end_of(block: Block) -> int | None:
    for index in range(len(block)):
        if block.lengths[index] == END_BYTES and block.data[block.starts[index]] == END_OF_SNAPSHOT:
            return index
    return None


def _first(block: Block, count: int) -> Block:
    return replace(block, starts=block.starts[:count], lengths=block.lengths[:count])


def _next_message(block: Block, index: int, source: str) -> int:
    start = int(block.starts[index])
    text = block.data[start + 1 : start + END_BYTES].tobytes()
    try:
        found = int(text)
    except ValueError:
        found = 0
    if not 0 < found < 1 << 63:
        raise FeedUnreadable(f"{source}: the snapshot ends at message {text!r}", block.offset(index))
    return found


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of the snapshot, then of the captures of the line."""
    reading = reading_of(context)
    if len(context.sources) < 2:
        raise FeedUnreadable("feed 'glimpse' needs the snapshot, then a capture of the line")
    runs, stream, first = MessageRuns(reading), SoupStream(), 0
    for ticks, following in snapshot_ticks(context, runs, stream):
        first = following
        yield ticks
    runs.go_on(first)
    arrived = _from(context, datagrams(context, context.sources[1:]), first)
    line = CapturedLine(runs.report, context, session=stream.session, next_sequence=first)
    yield from line_ticks(runs, line, arrived)


def _from(
    context: FeedContext, arrived: Iterator[tuple[int, Place, bytes]], first: int
) -> Iterator[tuple[int, Place, bytes]]:
    """Packets that say something that the snapshot does not."""
    scratch = Report(examples_max=0)
    for time_ns, place, datagram in arrived:
        packet = parse_packet(datagram, scratch)
        if packet is not None and packet.count and packet.next_sequence <= first:
            context.skip(KNOWN, packet.count)
        else:
            yield time_ns, place, datagram


GLIMPSE: Final = FeedReader(
    "glimpse",
    "a GLIMPSE snapshot (SoupBinTCP), then captures of its line",
    read,
    options={"port": "UDP port of the line; by default every flow of MoldUDP64 packets"},
    zone=NASDAQ_ZONE,
    needs_day=True,
)
