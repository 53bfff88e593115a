"""ITCH 5.0 in streams that are not framed by lengths: SoupBinTCP sessions, and messages with nothing between them."""

import socket
import time
from collections.abc import Iterator
from itertools import chain
from typing import Final
from urllib.parse import urlsplit

from common.contracts.ticks import Ticks
from common.feed_ticks import empty_ticks
from common.feeds import LIVE_YIELD_S, FeedAnomaly, FeedContext, FeedReader, FeedUnreadable

from ingest.domain.itch_versions import older_version
from ingest.domain.soupbintcp import HEARTBEAT, NAMES, SEQUENCED, SoupError, SoupStream, login_request
from ingest.domain.unframed import Unframed
from ingest.feeds.connections import RETRY_S, waited
from ingest.feeds.itch_messages import NASDAQ_ZONE, MessageRuns, reading_of

HEAD_BYTES: Final = 4_096
RECEIVE_BYTES: Final = 1 << 16
LIVE: Final = "tcp://"
RECONNECTED: Final = "a connection that was lost: the session goes on with the next message"
HEARTBEAT_S: Final = 1.0
SILENT_S: Final = 15.0
"""SoupBinTCP: a side that hears nothing for 15 seconds takes the other for dead."""


def soup_chunks(context: FeedContext, source: str, stream: SoupStream) -> Iterator[bytes]:
    """The session's bytes: of a file, or received from ``tcp://host:port``; an empty piece where nothing came."""
    return _received(context, source, stream) if source.startswith(LIVE) else context.chunks(source)


def _received(context: FeedContext, source: str, stream: SoupStream) -> Iterator[bytes]:
    """Logs in from the next message on and keeps the session alive; ends where the connection does.

    Raises FeedUnreadable where there was never one.
    """
    where = urlsplit(source)
    options = context.options
    try:
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=SILENT_S) as connection:
            session = options.get("session", "") or stream.session
            login = login_request(options.get("username", ""), options.get("password", ""), session, stream.sequence)
            connection.sendall(login)
            connection.settimeout(LIVE_YIELD_S)
            heard = said = time.monotonic()
            while heard > time.monotonic() - SILENT_S:
                if time.monotonic() - said >= HEARTBEAT_S:
                    connection.sendall(HEARTBEAT)
                    said = time.monotonic()
                try:
                    received = connection.recv(RECEIVE_BYTES)
                except TimeoutError:
                    yield b""
                    continue
                if not received:
                    return
                heard = time.monotonic()
                yield received
    except OSError as error:
        if not stream.counts.any():
            raise FeedUnreadable(f"{source}: {error.strerror or error}") from error


def soup_ticks(context: FeedContext, source: str, runs: MessageRuns, stream: SoupStream) -> Iterator[Ticks]:
    """Ticks of one source of a session. Raises FeedUnreadable for what is no session."""
    try:
        for chunk in chain(soup_chunks(context, source, stream), (None,)):
            for block in stream.feed(chunk or b"", is_last=chunk is None):
                yield runs.block(block)
            if chunk == b"":
                yield empty_ticks()
            if stream.ended:
                break
    except SoupError as error:
        raise FeedUnreadable(f"{source}: {error}", error.offset) from error


def read_soup(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of a session, recorded in one or several sources, or live. Its end before its end packet is counted.

    A live one is read from its first message on, also after a restart of the process: its directory is there.
    """
    reading = reading_of(context)
    runs, stream = MessageRuns(reading), SoupStream(reading.report)
    offset = 0
    try:
        for source in context.sources:
            read_source = live_ticks if source.startswith(LIVE) else soup_ticks
            yield from read_source(context, source, runs, stream)
            offset = stream.offset
            is_over = stream.ended or source != context.sources[-1]
            if (left := stream.take_left()) or not is_over:
                detail = f"{source}: {left} bytes left{'' if is_over else ', and no end of session'}"
                context.anomaly(FeedAnomaly.TRUNCATED, offset, stream.sequence, detail)
    finally:
        for kind, name in NAMES.items():
            if kind != SEQUENCED and stream.counts[kind]:
                context.skip(name, int(stream.counts[kind]))
    runs.finish(offset)


def live_ticks(context: FeedContext, source: str, runs: MessageRuns, stream: SoupStream) -> Iterator[Ticks]:
    """Ticks of a live session up to its end, over any number of connections: each goes on with the next message, so
    that nothing is lost which the server still has.
    """
    failures = 0
    while True:
        before = stream.sequence
        yield from soup_ticks(context, source, runs, stream)
        if stream.ended:
            return
        stream.take_left()
        context.skip(RECONNECTED)
        failures = 0 if stream.sequence > before else failures + 1
        yield from waited(RETRY_S[min(failures, len(RETRY_S) - 1)])


def read_raw(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of messages with nothing between them. Raises FeedUnreadable for another version of ITCH."""
    reading = reading_of(context)
    runs, unframed = MessageRuns(reading), Unframed(reading.report)
    head = b""
    for chunk in chain.from_iterable(map(context.chunks, context.sources)):
        if len(head) < HEAD_BYTES:
            head += chunk[:HEAD_BYTES]
            if older := older_version(head):
                raise FeedUnreadable(f"{context.sources[0]}: {older}, which is not read; only ITCH 5.0 is", 0)
        for block in unframed.feed(chunk):
            yield runs.block(block)
    for block in unframed.feed(b"", is_last=True):
        yield runs.block(block)
    runs.finish(unframed.offset)


_LOGIN: Final = {"username": "of a live session", "password": "of a live session", "session": "of a live session"}
SOUPBINTCP: Final = FeedReader(
    "soupbintcp",
    "a SoupBinTCP session of ITCH 5.0 messages, as a file of its bytes",
    read_soup,
    zone=NASDAQ_ZONE,
    needs_day=True,
)
SOUPBINTCP_LIVE: Final = FeedReader(
    "soupbintcp-live",
    "a SoupBinTCP session of ITCH 5.0 messages from tcp://host:port",
    read_soup,
    options=_LOGIN,
    zone=NASDAQ_ZONE,
    needs_day=True,
    live=True,
)
ITCH_RAW: Final = FeedReader(
    "itch-raw", "ITCH 5.0 messages with nothing between them", read_raw, zone=NASDAQ_ZONE, needs_day=True
)
