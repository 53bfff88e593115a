"""The requests of Kafka's protocol that a transactional producer sends, by hand: aiokafka has none of these versions.

Each class is what ``AIOKafkaClient.send`` takes, so connections, metadata, TLS and SASL stay aiokafka's. All versions
here are "flexible": compact strings and arrays, tagged fields (KIP-482), as the broker's message definitions say.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar, NamedTuple, Self

_NO_TAGS = b"\x00"


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
        """Of a compact string or array; -1 for null."""
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


class _Header(NamedTuple):
    """Request header 2."""

    data: bytes

    def encode(self) -> bytes:
        return self.data


class _ResponseHeader(NamedTuple):
    correlation_id: int


class Request:
    """What aiokafka's connection asks of a request."""

    API_KEY: ClassVar[int]
    RESPONSE_TYPE: ClassVar[Any]
    HEADER_TAGS: ClassVar[bool] = True

    def __init__(self, version: int, body: bytes) -> None:
        self._version = version
        self._body = body

    def prepare(self, _versions: Mapping[int, tuple[int, int]]) -> Self:
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        name = client_id.encode()
        head = struct.pack(">hhih", self.API_KEY, self._version, correlation_id, len(name))
        return _Header(head + name + _NO_TAGS)

    def encode(self) -> bytes:
        return self._body

    def parse_response_header(self, data: BytesIO) -> _ResponseHeader:
        (correlation_id,) = struct.unpack(">i", data.read(4))
        if self.HEADER_TAGS:
            # Brokers send none; were there any, the body could not be found without reading them.
            assert data.read(1) == _NO_TAGS
        return _ResponseHeader(correlation_id)


class Features(NamedTuple):
    """ApiVersions v3: API key → (oldest, newest) version, and the finalized level of each feature."""

    versions: dict[int, tuple[int, int]]
    levels: dict[str, int]

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        cursor.read(_ERROR)
        versions = {}
        for _ in range(cursor.length()):
            key, oldest, newest = cursor.read(_API_RANGE)
            cursor.tags()
            versions[key] = (oldest, newest)
        cursor.read(_THROTTLE)
        finalized = Cursor(cursor.tags().get(2, b"\x01"))
        levels = {}
        for _ in range(finalized.length()):
            name = finalized.text()
            newest, _oldest = finalized.read(_LEVELS)
            finalized.tags()
            levels[name] = newest
        return cls(versions, levels)


class ApiVersions(Request):
    """What the broker speaks (KIP-35, KIP-584)."""

    API_KEY = 18
    RESPONSE_TYPE = Features
    HEADER_TAGS = False

    def __init__(self) -> None:
        super().__init__(3, compact("tidemark") + compact("1") + _NO_TAGS)


class Transaction(NamedTuple):
    """DescribeTransactions v0: how the coordinator sees a transactional id. ``state`` is its own word for it; empty for
    an id that was never used."""

    error: int
    state: str

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        cursor.read(_THROTTLE)
        cursor.length()
        (error,) = cursor.read(_ERROR)
        cursor.text()
        return cls(0 if error == _TRANSACTIONAL_ID_NOT_FOUND else error, cursor.text())


class DescribeTransactions(Request):
    """KIP-664."""

    API_KEY = 65
    RESPONSE_TYPE = Transaction

    def __init__(self, transactional_id: str) -> None:
        super().__init__(0, compact_array([compact(transactional_id)]) + _NO_TAGS)


class ProducerId(NamedTuple):
    """InitProducerId v4 and EndTxn v5: the identity to go on with."""

    error: int
    producer_id: int
    epoch: int

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        _throttle, error, producer_id, epoch = _IDENTITY.unpack_from(data.read())
        return cls(error, producer_id, epoch)


class InitProducerId(Request):
    """Fences every older producer of the id (KIP-98)."""

    API_KEY = 22
    RESPONSE_TYPE = ProducerId

    def __init__(self, transactional_id: str, timeout_ms: int) -> None:
        super().__init__(4, compact(transactional_id) + struct.pack(">iqh", timeout_ms, -1, -1) + _NO_TAGS)


class ErrorCode(NamedTuple):
    """EndTxn before v5."""

    error: int

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        return cls(_THROTTLE_ERROR.unpack_from(data.read())[1])


class EndTxn(Request):
    """Transaction version 1 (KIP-98)."""

    API_KEY = 26
    RESPONSE_TYPE: ClassVar[Any] = ErrorCode
    VERSION: ClassVar[int] = 4

    def __init__(self, transactional_id: str, producer: ProducerId, committed: bool) -> None:
        identity = struct.pack(">qh?", producer.producer_id, producer.epoch, committed)
        super().__init__(self.VERSION, compact(transactional_id) + identity + _NO_TAGS)


class EndTxnBumping(EndTxn):
    """Transaction version 2 (KIP-890): the answer has the epoch for the next transaction."""

    RESPONSE_TYPE = ProducerId
    VERSION = 5


class PartitionErrors(NamedTuple):
    """AddPartitionsToTxn v3: partitions are added all or none; ``error`` is the code of one that stood in the way."""

    error: int

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        cursor.read(_THROTTLE)
        errors = {0}
        for _ in range(cursor.length()):
            cursor.text()
            for _ in range(cursor.length()):
                _partition, error = cursor.read(_PARTITION_ERROR)
                cursor.tags()
                errors.add(error)
            cursor.tags()
        refused = errors - {0, _OPERATION_NOT_ATTEMPTED}
        return cls(min(refused, default=0))


class AddPartitionsToTxn(Request):
    """Transaction version 1: the coordinator learns where markers will be owed."""

    API_KEY = 24
    RESPONSE_TYPE = PartitionErrors

    def __init__(self, transactional_id: str, producer: ProducerId, topics: Mapping[str, Iterable[int]]) -> None:
        rows = [
            compact(topic) + compact_array([struct.pack(">i", number) for number in numbers]) + _NO_TAGS
            for topic, numbers in topics.items()
        ]
        identity = struct.pack(">qh", producer.producer_id, producer.epoch)
        super().__init__(3, compact(transactional_id) + identity + compact_array(rows) + _NO_TAGS)


class Produced(NamedTuple):
    """Produce v9 and later: (topic, partition) → (error code, offset of the first record)."""

    partitions: dict[tuple[str, int], tuple[int, int]]

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        partitions = {}
        for _ in range(cursor.length()):
            topic = cursor.text()
            for _ in range(cursor.length()):
                number, error, offset, _append_ms, _log_start = cursor.read(_PRODUCED)
                for _ in range(max(cursor.length(), 0)):
                    cursor.read(_THROTTLE)
                    cursor.text()
                    cursor.tags()
                cursor.text()
                cursor.tags()
                partitions[topic, number] = (error, offset)
            cursor.tags()
        return cls(partitions)


class Produce(Request):
    """Record batches, one a partition, acknowledged by every replica in sync.

    ``version`` 11 is for transaction version 1, where partitions were added before; 12 is for version 2.
    """

    API_KEY = 0
    RESPONSE_TYPE = Produced

    def __init__(
        self, version: int, transactional_id: str, timeout_ms: int, batches: Mapping[str, Mapping[int, bytes]]
    ) -> None:
        parts = [compact(transactional_id), struct.pack(">hi", -1, timeout_ms), uvarint(len(batches) + 1)]
        for topic, partitions in batches.items():
            parts += (compact(topic), uvarint(len(partitions) + 1))
            for number, batch in partitions.items():
                parts += (struct.pack(">i", number), uvarint(len(batch) + 1), batch, _NO_TAGS)
            parts.append(_NO_TAGS)
        parts.append(_NO_TAGS)
        super().__init__(version, b"".join(parts))


_OPERATION_NOT_ATTEMPTED = 55
_TRANSACTIONAL_ID_NOT_FOUND = 105
_ERROR = struct.Struct(">h")
_THROTTLE = struct.Struct(">i")
_THROTTLE_ERROR = struct.Struct(">ih")
_API_RANGE = struct.Struct(">hhh")
_LEVELS = struct.Struct(">hh")
_IDENTITY = struct.Struct(">ihqh")
_PARTITION_ERROR = struct.Struct(">ih")
_PRODUCED = struct.Struct(">ihqqq")
