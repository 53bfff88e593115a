"""The requests of a transactional producer, in the versions of Kafka 4."""

import struct
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, ClassVar, NamedTuple, Self

from streams.kafka.protocol import NO_TAGS, Cursor, Request, compact, compact_array, uvarint


class Features(NamedTuple):
    """ApiVersions v3: API key → (oldest, newest) version, and the finalized level of each feature."""

    versions: dict[int, tuple[int, int]]
    levels: dict[str, int]

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        versions: dict[int, tuple[int, int]] = {}
        (error,) = cursor.read(_ERROR)
        if error:  # a broker that does not know this version of the question answers in its oldest one
            return cls(versions, {})
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
    """Versions that the broker speaks (KIP-35, KIP-584)."""

    API_KEY = 18
    RESPONSE_TYPE = Features
    HEADER_TAGS = False

    def __init__(self) -> None:
        super().__init__(3, compact("tidemark") + compact("1") + NO_TAGS)


class Transaction(NamedTuple):
    """DescribeTransactions v0: how the coordinator sees a transactional id. ``state`` is its own word for it; empty for
    an id that was never used. ``began_ms``: -1 where none is open."""

    error: int
    state: str
    timeout_ms: int = 0
    began_ms: int = -1

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        cursor.read(_THROTTLE)
        cursor.length()
        (error,) = cursor.read(_ERROR)
        cursor.text()
        return cls(0 if error == _TRANSACTIONAL_ID_NOT_FOUND else error, cursor.text(), *cursor.read(_OPEN_TRANSACTION))


class DescribeTransactions(Request):
    """KIP-664."""

    API_KEY = 65
    RESPONSE_TYPE = Transaction

    def __init__(self, transactional_id: str) -> None:
        super().__init__(0, compact_array([compact(transactional_id)]) + NO_TAGS)


class OpenProducer(NamedTuple):
    """Producer with an open transaction in a partition: the first offset, and its last write there."""

    producer_id: int
    begins_at: int
    wrote_ms: int


class OpenProducers(NamedTuple):
    """DescribeProducers v0 of one partition: those that have a transaction open there."""

    error: int
    producers: list[OpenProducer]

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        cursor.read(_THROTTLE)
        cursor.length()
        cursor.text()
        cursor.length()
        _number, error = cursor.read(_PARTITION_ERROR)
        cursor.text()
        producers = []
        for _ in range(max(cursor.length(), 0)):
            producer_id, _epoch, _sequence, wrote_ms, _coordinator, begins_at = cursor.read(_ACTIVE_PRODUCER)
            cursor.tags()
            if begins_at >= 0:
                producers.append(OpenProducer(producer_id, begins_at, wrote_ms))
        return cls(error, producers)


class DescribeProducers(Request):
    """KIP-664; asked of the partition's leader."""

    API_KEY = 61
    RESPONSE_TYPE = OpenProducers

    def __init__(self, topic: str, number: int) -> None:
        numbers = compact_array([struct.pack(">i", number)])
        super().__init__(0, compact_array([compact(topic) + numbers + NO_TAGS]) + NO_TAGS)


class Listed(NamedTuple):
    """ListTransactions v0: producer id → transactional id, of those that a coordinator knows."""

    error: int
    transactional_ids: dict[int, str]

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        cursor = Cursor(data.read())
        cursor.read(_THROTTLE)
        (error,) = cursor.read(_ERROR)
        for _ in range(max(cursor.length(), 0)):
            cursor.text()
        transactional_ids = {}
        for _ in range(max(cursor.length(), 0)):
            transactional_id = cursor.text()
            (producer_id,) = cursor.read(_PRODUCER_ID)
            cursor.text()
            cursor.tags()
            transactional_ids[producer_id] = transactional_id
        return cls(error, transactional_ids)


class ListTransactions(Request):
    """Asks for transactions of the given producers, in any state (KIP-664); every broker coordinates some."""

    API_KEY = 66
    RESPONSE_TYPE = Listed

    def __init__(self, producer_ids: Iterable[int]) -> None:
        ids = [_PRODUCER_ID.pack(producer_id) for producer_id in producer_ids]
        super().__init__(0, compact_array([]) + compact_array(ids) + NO_TAGS)


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
        super().__init__(4, compact(transactional_id) + struct.pack(">iqh", timeout_ms, -1, -1) + NO_TAGS)


class ErrorCode(NamedTuple):
    """EndTxn before v5."""

    error: int

    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        return cls(_THROTTLE_ERROR.unpack_from(data.read())[1])


class EndTxn(Request):
    """Transaction version 1 (KIP-98). Version 3 is the same to brokers before Kafka 3.8."""

    API_KEY = 26
    RESPONSE_TYPE: ClassVar[Any] = ErrorCode
    VERSION: ClassVar[int] = 4

    def __init__(self, transactional_id: str, producer: ProducerId, committed: bool, version: int = VERSION) -> None:
        identity = struct.pack(">qh?", producer.producer_id, producer.epoch, committed)
        super().__init__(version, compact(transactional_id) + identity + NO_TAGS)


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
            compact(topic) + compact_array([struct.pack(">i", number) for number in numbers]) + NO_TAGS
            for topic, numbers in topics.items()
        ]
        identity = struct.pack(">qh", producer.producer_id, producer.epoch)
        super().__init__(3, compact(transactional_id) + identity + compact_array(rows) + NO_TAGS)


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

    ``version`` 12 is for transaction version 2; up to 11 partitions are added before. The layout is the same from 9 on.
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
                parts += (struct.pack(">i", number), uvarint(len(batch) + 1), batch, NO_TAGS)
            parts.append(NO_TAGS)
        parts.append(NO_TAGS)
        super().__init__(version, *parts)


_OPERATION_NOT_ATTEMPTED = 55
_TRANSACTIONAL_ID_NOT_FOUND = 105
_ERROR = struct.Struct(">h")
_THROTTLE = struct.Struct(">i")
_THROTTLE_ERROR = struct.Struct(">ih")
_API_RANGE = struct.Struct(">hhh")
_LEVELS = struct.Struct(">hh")
_IDENTITY = struct.Struct(">ihqh")
_PARTITION_ERROR = struct.Struct(">ih")
_ACTIVE_PRODUCER = struct.Struct(">qiiqiq")
_OPEN_TRANSACTION = struct.Struct(">iq")
_PRODUCER_ID = struct.Struct(">q")
_PRODUCED = struct.Struct(">ihqqq")
