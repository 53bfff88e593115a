"""Writes packets as a pcap file: Ethernet, IPv4, UDP, stamped in nanoseconds. No I/O here."""

import struct
from typing import Final

from ingest.domain.moldudp64 import END_OF_SESSION, HEADER

PCAP_HEADER: Final = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)
_RECORD: Final = struct.Struct("<IIII")
_ETHERNET: Final = bytes.fromhex("01005e360c6f020000000001") + b"\x08\x00"
_SOURCE, _GROUP = bytes((10, 0, 0, 1)), bytes((233, 54, 12, 111))
_PORT: Final = 26_477


def mold_packet(session: str, sequence: int, messages: list[bytes]) -> bytes:
    """One MoldUDP64 packet."""
    head = HEADER.pack(session.encode("latin-1").ljust(10)[:10], sequence, len(messages))
    return head + b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def mold_end(session: str, sequence: int) -> bytes:
    """The packet that ends a session; ``sequence`` is that of the message that would be next."""
    return HEADER.pack(session.encode("latin-1").ljust(10)[:10], sequence, END_OF_SESSION)


def pcap_record(time_ns: int, payload: bytes) -> bytes:
    """One captured datagram."""
    udp = struct.pack(">HHHH", _PORT, _PORT, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 32, 17, 0, _SOURCE, _GROUP)
    frame = _ETHERNET + ip + udp
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return _RECORD.pack(seconds, rest, len(frame), len(frame)) + frame
