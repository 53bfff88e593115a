"""ITCH 5.0 in streams that are not framed by lengths: SoupBinTCP sessions, and messages with nothing between them."""

import socket
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from common.contracts.ticks import Ticks
from common.feed_ticks import empty_ticks
from common.feeds import LIVE_YIELD_S, FeedAnomaly, FeedContext, FeedReader, FeedUnreadable

from ingest.domain.itch_versions import older_version
from ingest.domain.soupbintcp import HEARTBEAT, NAMES, SEQUENCED, SoupError, SoupStream, login_request
from ingest.domain.unframed import Unframed
from ingest.feeds.itch_messages import NASDAQ_ZONE, MessageRuns, reading_of

HEAD_BYTES: Final = 4_096
RECEIVE_BYTES: Final = 1 << 16
HEARTBEAT_S: Final = 1.0
SILENT_S: Final = 15.0
"""SoupBinTCP: a side that hears nothing for 15 seconds takes the other for dead."""


def soup_chunks(context: FeedContext, source: str) -> Iterator[bytes]:
    """The session's bytes: of a file, or received from ``tcp://host:port``; an empty piece where nothing came."""
    return _received(context, source) if source.startswith("tcp://") else context.chunks(source)


def _received(context: FeedContext, source: str) -> Iterator[bytes]:
    """Logs in from the next message on and keeps the session alive."""
    where = urlsplit(source)
    options = context.options
    try:
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=SILENT_S) as connection:
            login = login_request(
                options.get("username", ""),
                options.get("password", ""),
                options.get("session", ""),
                context.next_sequence,
            )
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
        raise FeedUnreadable(f"{source}: {error.strerror or error}") from error


def soup_ticks(context: FeedContext, source: str, runs: MessageRuns, stream: SoupStream) -> Iterator[Ticks]:
    """Ticks of one session. Raises FeedUnreadable for what is no session; its end before its end packet is counted."""
    try:
        for chunk in soup_chunks(context, source):
            for block in stream.feed(chunk):
                yield runs.block(block)
            if not chunk:
                yield empty_ticks()
            if stream.ended:
                break
    except SoupError as error:
        raise FeedUnreadable(f"{source}: {error}", error.offset) from error
    finally:
        for kind, name in NAMES.items():
            if kind != SEQUENCED and stream.counts[kind]:
                context.skip(name, int(stream.counts[kind]))
    if not stream.ended:
        detail = f"{source}: {stream.left()} bytes left, and no end of session"
        context.anomaly(FeedAnomaly.TRUNCATED, stream.offset, stream.sequence, detail)


def read_soup(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of a recorded or a live session."""
    runs = MessageRuns(reading_of(context))
    source = context.sources[0]
    is_live = source.startswith("tcp://")
    stream = SoupStream(context.next_sequence if is_live else 1)
    yield from soup_ticks(context, source, runs, stream)
    runs.finish(stream.offset)


def read_raw(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of messages with nothing between them. Raises FeedUnreadable for another version of ITCH."""
    reading = reading_of(context)
    runs, unframed = MessageRuns(reading), Unframed(reading.report)
    head = b""
    for chunk in context.chunks(context.sources[0]):
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
