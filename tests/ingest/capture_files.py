"""Builders of packet captures and SoupBinTCP sessions, from ``struct`` alone."""

import struct
from collections.abc import Iterable

Timed = tuple[int, bytes]
"""(capture time in ns, UDP payload)."""


def messages_of(stream: bytes) -> list[bytes]:
    """Messages of a stream that is framed by 2-byte lengths."""
    found, at = [], 0
    while at < len(stream):
        size = int.from_bytes(stream[at : at + 2], "big")
        found.append(stream[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def mold(sequence: int, messages: list[bytes], session: bytes = b"SESSION001") -> bytes:
    """One MoldUDP64 packet."""
    blocks = b"".join(len(one).to_bytes(2, "big") + one for one in messages)
    return session.ljust(10) + struct.pack(">QH", sequence, len(messages)) + blocks


def ethernet(payload: bytes, *, port: int = 26477, group: bytes = b"\xe9\x36\x0c\x6f", vlan: bool = False) -> bytes:
    """An Ethernet frame with IPv4, UDP and the payload."""
    udp = struct.pack(">HHHH", 4000, port, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 21, 17, 0, b"\x0a\x00\x00\x01", group)
    return bytes(12) + (b"\x81\x00\x00\x05" if vlan else b"") + b"\x08\x00" + ip + udp


def pcap(packets: Iterable[Timed], *, order: str = "<", nanoseconds: bool = True, vlan: bool = False) -> bytes:
    """A pcap file of either byte order and resolution."""
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1_000)
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262_144, 1)]
    for time_ns, payload in packets:
        frame = ethernet(payload, vlan=vlan)
        seconds, rest = divmod(time_ns, 10**9)
        out += [struct.pack(order + "IIII", seconds, rest // unit, len(frame), len(frame)), frame]
    return b"".join(out)


def pcapng(packets: Iterable[Timed], *, order: str = "<") -> bytes:
    """A pcapng file with one interface of nanoseconds."""
    options = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    out = [
        _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)),
        _block(order, 1, struct.pack(order + "HHI", 1, 0, 0) + options),
    ]
    for time_ns, payload in packets:
        frame = ethernet(payload)
        head = struct.pack(order + "IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), len(frame))
        out.append(_block(order, 6, head + frame + bytes(-len(frame) % 4)))
    return b"".join(out)


def _block(order: str, kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def soup(messages: Iterable[bytes], *, sequence: int = 1, ended: bool = True) -> bytes:
    """A recorded SoupBinTCP session with a login, a heartbeat, a debug packet and its end."""
    packets = [b"A" + b"SESSION001" + b"%20d" % sequence, b"+hello", b"H"]
    packets += [b"S" + one for one in messages] + ([b"Z"] if ended else [])
    return b"".join(len(one).to_bytes(2, "big") + one for one in packets)
