"""A sender of MoldUDP64 lines: packets as an exchange makes them, and a socket that sends them."""

import asyncio
import socket
from collections.abc import Iterable, Iterator
from typing import Final

from ingest.domain.moldudp64 import END_OF_SESSION, HEADER

PAYLOAD_MAX: Final = 1_400
"""Bytes of a packet that cross an Ethernet without being cut up."""
MULTICAST_TTL: Final = 1
SEND_BURST: Final = 32


def packets(session: str, frames: bytes, first_sequence: int, payload_max: int = PAYLOAD_MAX) -> Iterator[bytes]:
    """Packs whole length-framed messages into datagrams of at most ``payload_max`` bytes after the header."""
    begin = end = 0
    sequence, count = first_sequence, 0
    while end < len(frames):
        size = 2 + int.from_bytes(frames[end : end + 2], "big")
        if count and (end + size - begin > payload_max or count == END_OF_SESSION - 1):
            yield HEADER.pack(_name(session), sequence, count) + frames[begin:end]
            sequence, count, begin = sequence + count, 0, end
        end += size
        count += 1
    if count:
        yield HEADER.pack(_name(session), sequence, count) + frames[begin:end]


def heartbeat_packet(session: str, next_sequence: int) -> bytes:
    """Says which message comes next, so that a loss at the end of a burst shows."""
    return HEADER.pack(_name(session), next_sequence, 0)


def end_packet(session: str, next_sequence: int) -> bytes:
    """Says that there is no next message."""
    return HEADER.pack(_name(session), next_sequence, END_OF_SESSION)


async def send_packets(
    datagrams: Iterable[bytes], host: str, port: int, *, packets_per_s: int, source: str = ""
) -> int:
    """Sends a line, not faster than ``packets_per_s``, so that a receiver beside it can follow. Returns how many.

    ``source``: address of the interface that multicast leaves by.
    """
    sent = 0
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        if family == socket.AF_INET:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, MULTICAST_TTL)
        if source:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        began = loop.time()
        for datagram in datagrams:
            await loop.sock_sendto(sender, datagram, (host, port))
            sent += 1
            if sent % SEND_BURST == 0:
                await asyncio.sleep(max(0.0, began + sent / packets_per_s - loop.time()))
    return sent


def _name(session: str) -> bytes:
    return session.encode("latin-1").ljust(10)[:10]
