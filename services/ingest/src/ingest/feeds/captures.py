"""MoldUDP64 in packet captures (pcap, pcapng), of one line or of the redundant lines A and B.

Packets of all sources are taken in the order of their capture times, as one receiver would have had them: messages
that either line delivered are no gap, those that both delivered are taken once.
"""

import heapq
from collections.abc import Iterator
from itertools import chain
from typing import Final

from common.contracts.ticks import Ticks
from common.feeds import FeedAnomaly, FeedContext, FeedReader, FeedUnreadable

from ingest.domain.anomalies import Report
from ingest.domain.byte_stream import ByteStream
from ingest.domain.capture import UDP, Captured, CaptureError, Layer, captured, segment
from ingest.domain.moldudp64 import Line, Run, parse_packet
from ingest.domain.packet import Packet
from ingest.feeds.installed import number_option
from ingest.feeds.itch_messages import NASDAQ_ZONE, MessageRuns, reading_of

DATAGRAMS_AT_ONCE: Final = 4_096
OTHER_FLOW: Final = "a datagram that is no MoldUDP64 packet, of a flow that had none"
NOT_UDP: Final = "a TCP segment"
OTHER_PORT: Final = "a datagram to another port"
CUT: Final = "a packet of which the capture kept only the beginning: record with a greater snapshot length"
Place = tuple[int, int]
"""(number of the source, byte offset in it)."""


def packets(context: FeedContext, source: str, number: int) -> Iterator[tuple[int, Place, Captured]]:
    """Packets of one capture with their place. A capture that ends in damage ends there, counted."""
    stream = ByteStream(context.chunks(source))
    time_ns = 0
    try:
        for packet in captured(stream):
            time_ns = max(time_ns, packet.time_ns)  # a merge needs an order; within a file it is the file's
            yield time_ns, (number, packet.offset), packet
    except CaptureError as error:
        if error.offset == 0:
            raise FeedUnreadable(f"{source}: {error}", 0) from error
        context.anomaly(FeedAnomaly.TRUNCATED, error.offset, 0, f"{source}: {error}")


def datagrams(context: FeedContext, captures: tuple[str, ...]) -> Iterator[tuple[int, Place, bytes]]:
    """Payloads of MoldUDP64 flows of the captures, in the order of their times."""
    port = number_option(context.options, "port", 0, range(1, 1 << 16))
    sources = [packets(context, source, number) for number, source in enumerate(captures)]
    flows: set[tuple[bytes, int]] = set()
    scratch = Report(examples_max=0)
    for time_ns, place, packet in heapq.merge(*sources, key=lambda found: found[0]):
        found = segment(packet)
        if isinstance(found, Layer):
            context.skip(found.value)
        elif found.protocol != UDP:
            context.skip(NOT_UDP)
        elif port and found.flow[3] != port:
            context.skip(OTHER_PORT)
        elif found.destination in flows or is_well_formed(parse_packet(found.payload, scratch), found.payload):
            flows.add(found.destination)
            yield time_ns, place, found.payload
        else:
            context.skip(CUT if packet.is_cut else OTHER_FLOW)


def is_well_formed(packet: Packet | None, datagram: bytes) -> bool:
    """Whether a datagram is a MoldUDP64 packet to its last byte. Nobody's DNS answer is."""
    if packet is None:
        return False
    return len(packet.payload) + 20 == len(datagram) and (packet.count > 0 or len(datagram) == 20)


class CapturedLine:
    """The line of a capture: its clock is the capture's, and it begins with the first packet, or where told."""

    def __init__(self, report: Report, context: FeedContext, *, session: str = "", next_sequence: int = 0) -> None:
        self._report = report
        self._context = context
        self._time_ns = 0
        self._line = Line(report, session=session, next_sequence=next_sequence) if next_sequence else None

    def receive(self, time_ns: int, place: Place, datagram: bytes) -> list[Run]:
        """Takes a datagram; returns the runs that can be decoded now."""
        if self._line is None:
            packet = parse_packet(datagram, Report())
            if packet is None:
                return []
            self._line = Line(self._report, session=packet.session, next_sequence=packet.sequence)
            before = packet.sequence - 1
            if before > 0:
                detail = f"the capture begins at message {packet.sequence} of session {packet.session!r}"
                self._context.anomaly(FeedAnomaly.SEQUENCE_GAP, place[1], packet.sequence, detail, count=before)
        self._time_ns = time_ns
        return self._line.receive(datagram, time_ns)

    def finish(self) -> list[Run]:
        """The capture is over: what is held back is given, over its gaps."""
        return self._line.finish(self._time_ns) if self._line else []


def read(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of the messages of a capture's line."""
    reading = reading_of(context)
    arrived = datagrams(context, context.sources)
    first = next(arrived, None)
    if first is None:
        return
    reading.begin_day(first[0])
    runs = MessageRuns(reading)
    yield from line_ticks(runs, CapturedLine(runs.report, context), chain((first,), arrived))


def line_ticks(runs: MessageRuns, line: CapturedLine, arrived: Iterator[tuple[int, Place, bytes]]) -> Iterator[Ticks]:
    """Ticks of the datagrams, decoded so many at once."""
    waiting: list[Run] = []
    end = 0
    for count, (time_ns, place, datagram) in enumerate(arrived, 1):
        end = place[1] + len(datagram)
        waiting += line.receive(time_ns, place, datagram)
        if count % DATAGRAMS_AT_ONCE == 0:
            yield from runs.ticks(waiting)
            waiting = []
    yield from runs.ticks(waiting + line.finish())
    runs.finish(end)


PCAP: Final = FeedReader(
    "pcap",
    "captures of a MoldUDP64 line, or of its lines A and B (pcap, pcapng)",
    read,
    options={"port": "UDP port of the line; by default every flow of MoldUDP64 packets"},
    zone=NASDAQ_ZONE,
)
