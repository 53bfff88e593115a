"""A late join from files: a GLIMPSE snapshot, then captures of the line from the message that the snapshot names.

A live line joins by ``late_join``.
"""

from collections.abc import Iterator
from typing import Final

from common.contracts.ticks import Ticks
from common.feeds import FeedContext, FeedReader, FeedUnreadable

from ingest.domain.anomalies import Report
from ingest.domain.glimpse import SnapshotStream
from ingest.domain.moldudp64 import parse_packet
from ingest.domain.soupbintcp import SoupError
from ingest.feeds.captures import CapturedLine, Place, datagrams, line_ticks
from ingest.feeds.itch_messages import NASDAQ_ZONE, MessageRuns, reading_of

KNOWN: Final = "messages of the line that the snapshot has"


def snapshot_ticks(context: FeedContext, runs: MessageRuns, stream: SnapshotStream) -> Iterator[Ticks]:
    """Ticks up to the snapshot's end. Raises FeedUnreadable where it has none."""
    source = context.sources[0]
    try:
        for chunk in context.chunks(source):
            for block in stream.feed(chunk):
                yield runs.block(block)
            if stream.next_message:
                return
    except SoupError as error:
        raise FeedUnreadable(f"{source}: {error}", error.offset) from error
    raise FeedUnreadable(f"{source}: the snapshot has no end (G): what follows it is not known", stream.offset)


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of the snapshot, then of the captures of the line."""
    reading = reading_of(context)
    if len(context.sources) < 2:
        raise FeedUnreadable("feed 'glimpse' needs the snapshot, then a capture of the line")
    runs, stream = MessageRuns(reading), SnapshotStream()
    yield from snapshot_ticks(context, runs, stream)
    first = stream.next_message
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
