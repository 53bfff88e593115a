"""Packet captures: pcap and pcapng files, and what is in their packets down to UDP and TCP payloads.

Formats: draft-ietf-opsawg-pcap (both byte orders, micro- and nanoseconds) and draft-ietf-opsawg-pcapng (section header,
interface description, enhanced, simple and obsolete packet blocks). Written here, since a capture that is cut off or
damaged must be counted with its place, which the packages for it do not tell.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingest.domain.byte_stream import ByteStream

PACKET_BYTES_MAX: Final = 1 << 20
"""A packet or block that claims to be larger is damage."""
_PCAP_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_SECTION: Final = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDER: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _OBSOLETE, _SIMPLE, _ENHANCED = 1, 2, 3, 6
_OPTION_TSRESOL, _OPTION_TSOFFSET = 9, 14


class CaptureError(ValueError):
    """The capture cannot be read on from ``offset``."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Captured:
    """One packet. ``is_cut``: the capture kept only its beginning."""

    time_ns: int
    offset: int
    link_type: int
    data: bytes
    is_cut: bool


def captured(stream: ByteStream) -> Iterator[Captured]:
    """The packets of a capture. Raises CaptureError where it is none, or cannot be read on."""
    magic = stream.peek(4)
    if magic in _PCAP_MAGIC:
        yield from _pcap(stream, *_PCAP_MAGIC[magic])
    elif magic == _SECTION:
        yield from _pcapng(stream)
    else:
        raise CaptureError(f"neither pcap nor pcapng: begins with {magic.hex() or 'nothing'}", 0)


def _pcap(stream: ByteStream, order: str, unit_ns: int) -> Iterator[Captured]:
    header = stream.take(24)
    if len(header) < 24:
        raise CaptureError("the header is cut off", len(header))
    link_type = struct.unpack_from(order + "I", header, 20)[0] & 0xFFFF
    record = struct.Struct(order + "IIII")
    while head := stream.take(record.size):
        offset = stream.offset - len(head)
        if len(head) < record.size:
            raise CaptureError(f"{len(head)} bytes left of a packet header", offset)
        seconds, fraction, size, whole = record.unpack(head)
        if size > PACKET_BYTES_MAX:
            raise CaptureError(f"a packet that claims {size} bytes", offset)
        data = stream.take(size)
        if len(data) < size:
            raise CaptureError(f"{len(data)} of {size} bytes of a packet", offset)
        yield Captured(seconds * 1_000_000_000 + fraction * unit_ns, offset, link_type, data, size < whole)


@dataclass(slots=True)
class _Interface:
    link_type: int
    units_per_s: int = 1_000_000
    offset_s: int = 0

    def time_ns(self, high: int, low: int) -> int:
        return (high << 32 | low) * 1_000_000_000 // self.units_per_s + self.offset_s * 1_000_000_000


def _pcapng(stream: ByteStream) -> Iterator[Captured]:
    order = "<"
    interfaces: list[_Interface] = []
    while head := stream.peek(12):
        offset = stream.offset
        if len(head) < 12:
            raise CaptureError(f"{len(head)} bytes left of a block", offset)
        if head[:4] == _SECTION:
            if head[8:12] not in _BYTE_ORDER:
                raise CaptureError("a section of no known byte order", offset)
            order, interfaces = _BYTE_ORDER[head[8:12]], []
        kind, size = struct.unpack_from(order + "II", head)
        if size < 12 or size % 4 or size > PACKET_BYTES_MAX:
            raise CaptureError(f"a block that claims {size} bytes", offset)
        block = stream.take(size)
        if len(block) < size:
            raise CaptureError(f"{len(block)} of {size} bytes of a block", offset)
        try:
            if kind == _INTERFACE:
                interfaces.append(_interface(order, block))
            elif kind in (_ENHANCED, _OBSOLETE, _SIMPLE):
                yield _packet(order, kind, block, interfaces, offset)
        except (struct.error, IndexError) as error:
            raise CaptureError(f"a block that contradicts itself ({error})", offset) from error


def _interface(order: str, block: bytes) -> _Interface:
    interface = _Interface(struct.unpack_from(order + "H", block, 8)[0])
    at = 16
    while at + 4 <= len(block) - 4:
        code, size = struct.unpack_from(order + "HH", block, at)
        value = block[at + 4 : at + 4 + size]
        if code == 0:
            break
        if code == _OPTION_TSRESOL and value:
            exponent = value[0] & 0x7F
            interface.units_per_s = 2**exponent if value[0] & 0x80 else 10**exponent
        elif code == _OPTION_TSOFFSET and len(value) == 8:
            interface.offset_s = struct.unpack(order + "q", value)[0]
        at += 4 + (size + 3) // 4 * 4
    return interface


def _packet(order: str, kind: int, block: bytes, interfaces: list[_Interface], offset: int) -> Captured:
    if kind == _SIMPLE:
        interface, (whole,) = interfaces[0], struct.unpack_from(order + "I", block, 8)
        data = block[12 : min(12 + whole, len(block) - 4)]
        return Captured(0, offset, interface.link_type, data, len(data) < whole)
    place, high, low, size, whole = struct.unpack_from(order + "IIIII", block, 8)
    interface = interfaces[place & 0xFFFF if kind == _OBSOLETE else place]
    if 28 + size > len(block) - 4:
        raise CaptureError(f"a packet of {size} bytes in a block of {len(block)}", offset)
    return Captured(interface.time_ns(high, low), offset, interface.link_type, block[28 : 28 + size], size < whole)


# --- what is in a packet ------------------------------------------------------------------------------------------


class Layer(StrEnum):
    """Why a packet carries no payload for us. Closed."""

    NOT_IP = "no IP packet"
    OTHER = "neither UDP nor TCP"
    FRAGMENT = "an IP fragment"
    LINK = "a link type that is not known"
    CUT = "cut off within its headers"


@dataclass(frozen=True, slots=True)
class Segment:
    """The payload of a UDP datagram or a TCP segment. ``flow``: source and destination with ports, as text."""

    protocol: int
    flow: tuple[bytes, int, bytes, int]
    payload: bytes
    sequence: int = 0
    """Sequence number of the first byte, for TCP."""
    is_start: bool = False
    """TCP SYN: the stream begins with the next sequence number."""

    @property
    def destination(self) -> tuple[bytes, int]:
        return self.flow[2:]


UDP, TCP = 17, 6
_ETHERNET, _RAW, _LOOPBACK, _LINUX, _LINUX2 = 1, (12, 14, 101, 228, 229), (0, 108), 113, 276
_TYPED: Final = {_ETHERNET: (12, 14), _LINUX: (14, 16), _LINUX2: (0, 20)}
"""Link type to the place of its packets' EtherType, and of what follows the header. A VLAN tag stands behind that."""
_VLAN: Final = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_IPV6_EXTENSIONS: Final = (0, 43, 60)


def segment(packet: Captured) -> Segment | Layer:
    """Down to the payload. What is there of a packet that was cut is given."""
    try:
        return _segment(packet)
    except (struct.error, IndexError):
        return Layer.CUT


def _segment(packet: Captured) -> Segment | Layer:
    data, at = packet.data, 0
    if packet.link_type in _TYPED:
        type_at, at = _TYPED[packet.link_type]
        kind = data[type_at : type_at + 2]
        while kind in _VLAN:
            kind, at = data[at + 2 : at + 4], at + 4
        if kind not in (_IPV4, _IPV6):
            return Layer.NOT_IP
    elif packet.link_type in _LOOPBACK:
        at = 4
    elif packet.link_type not in _RAW:
        return Layer.LINK
    version = data[at] >> 4
    if version == 4:
        return _ipv4(data, at)
    return _ipv6(data, at) if version == 6 else Layer.NOT_IP


def _ipv4(data: bytes, at: int) -> Segment | Layer:
    size = (data[at] & 0x0F) * 4
    total, _, fragment = struct.unpack_from(">HHH", data, at + 2)
    if fragment & 0x3FFF:
        return Layer.FRAGMENT
    end = at + total if total else len(data)  # offloaded packets have no length; behind it is padding
    return _transport(data, data[at + 9], data[at + 12 : at + 16], data[at + 16 : at + 20], at + size, end)


def _ipv6(data: bytes, at: int) -> Segment | Layer:
    size, following = struct.unpack_from(">HB", data, at + 4)
    source, destination = data[at + 8 : at + 24], data[at + 24 : at + 40]
    end = at + 40 + size if size else len(data)
    at += 40
    while following in _IPV6_EXTENSIONS:
        following, at = data[at], at + 8 + data[at + 1] * 8
    return Layer.FRAGMENT if following == 44 else _transport(data, following, source, destination, at, end)


def _transport(data: bytes, protocol: int, source: bytes, to: bytes, at: int, end: int) -> Segment | Layer:
    if protocol not in (UDP, TCP):
        return Layer.OTHER
    from_port, to_port = struct.unpack_from(">HH", data, at)
    flow = (source, from_port, to, to_port)
    if protocol == UDP:
        size = struct.unpack_from(">H", data, at + 4)[0]
        return Segment(UDP, flow, data[at + 8 : min(end, at + size) if size else end])
    sequence, _, offset, flags = struct.unpack_from(">IIBB", data, at + 4)
    return Segment(TCP, flow, data[at + (offset >> 4) * 4 : end], sequence, bool(flags & 0x02))
