"""Kafka's wire format as far as a stage needs it: what aiokafka lacks, or has in versions too old.

A request is what ``AIOKafkaClient.send`` takes, so connections, metadata, TLS and SASL stay aiokafka's. All versions
here are "flexible": compact strings and arrays, tagged fields (KIP-482), as the broker's message definitions say.
"""

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar, NamedTuple, Self

NO_TAGS = b"\x00"


def uvarint(value: int) -> bytes:
    """An unsigned variable-length integer (Protocol Buffers' base 128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def compact(text: str) -> bytes:
    """A compact string."""
    data = text.encode()
    return uvarint(len(data) + 1) + data


def compact_array(items: Sequence[bytes]) -> bytes:
    return uvarint(len(items) + 1) + b"".join(items)


class Cursor:
    """Reads a response from front to back. Raises struct.error or IndexError where it is too short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, layout: struct.Struct) -> tuple[Any, ...]:
        values = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return values

    def uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def length(self) -> int:
        """Length of a compact string or array; -1 for null."""
        return self.uvarint() - 1

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def text(self) -> str:
        return self.take(max(self.length(), 0)).decode()

    def tags(self) -> dict[int, bytes]:
        found = {}
        for _ in range(self.uvarint()):
            tag = self.uvarint()
            found[tag] = self.take(self.uvarint())
        return found


class _Header:
    """Nothing: the request has its header in front of its body, since joining the two would copy megabytes."""

    @staticmethod
    def encode() -> bytes:
        return b""


class _ResponseHeader(NamedTuple):
    correlation_id: int


class Request:
    """Interface that aiokafka's connection asks of a request."""

    API_KEY: ClassVar[int]
    RESPONSE_TYPE: ClassVar[Any]
    HEADER_TAGS: ClassVar[bool] = True

    def __init__(self, version: int, *body: bytes) -> None:
        self._version = version
        self._header = b""
        self._body = body

    def prepare(self, _versions: Mapping[int, tuple[int, int]]) -> Self:
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        """Request header 2."""
        name = client_id.encode()
        head = struct.pack(">hhih", self.API_KEY, self._version, correlation_id, len(name))
        self._header = head + name + NO_TAGS
        return _Header()

    def encode(self) -> bytes:
        """The request as it was last given a header."""
        return b"".join((self._header, *self._body))

    def parse_response_header(self, data: BytesIO) -> _ResponseHeader:
        (correlation_id,) = struct.unpack(">i", data.read(4))
        if self.HEADER_TAGS:
            # Brokers send none; were there any, the body could not be found without reading them.
            assert data.read(1) == NO_TAGS
        return _ResponseHeader(correlation_id)
