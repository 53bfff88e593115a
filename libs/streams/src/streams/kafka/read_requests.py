"""The requests of a reader: records, and where a partition begins and ends."""

import struct
from io import BytesIO
from typing import NamedTuple, Self

from streams.kafka.protocol import NO_TAGS, Cursor, Request, compact, compact_array

READ_UNCOMMITTED = 0
READ_COMMITTED = 1
LATEST = -1
EARLIEST = -2


class Fetched(NamedTuple):
    """Fetch v13 of one partition: whole record batches and perhaps part of one more.

    ``aborted``: (producer id, first offset) of each aborted transaction that reaches into them. ``diverged``: the log
    does not hold any more what was read last (KIP-320); there are no records then. ``end``: the high watermark;
    ``stable``: the last stable offset, where read_committed stops.
    """

    error: int
    aborted: list[tuple[int, int]]
    data: bytes
    diverged: bool = False
    end: int = 0
    stable: int = 0

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        _throttle, error, _session = cursor.read(_HEAD)
        if error or cursor.length() != 1:
            return cls(error or _NO_SUCH_PARTITION, [], b"")
        cursor.take(_UUID_BYTES)
        cursor.length()
        _number, error, end, stable, _low = cursor.read(_PARTITION)
        aborted = []
        for _ in range(max(cursor.length(), 0)):
            aborted.append(cursor.read(_ABORTED))
            cursor.tags()
        cursor.read(_REPLICA)
        data = cursor.take(max(cursor.length(), 0))
        return cls(error, aborted, data, _DIVERGING_EPOCH in cursor.tags(), end, stable)


class Fetch(Request):
    """One partition, committed records, outside any fetch session. The broker waits until there is a byte.

    The topic is named by its id (KIP-516), so that nothing is read of another topic that was given its name.
    ``last_epoch``: leader epoch of the record before ``offset``, -1 where it is not known.
    """

    API_KEY = 1
    RESPONSE_TYPE = Fetched

    def __init__(
        self, topic_id: bytes, number: int, offset: int, wait_ms: int, bytes_max: int, last_epoch: int = -1
    ) -> None:
        head = _FETCH.pack(-1, wait_ms, 1, bytes_max, READ_COMMITTED, 0, -1)
        partition = _FETCH_PARTITION.pack(number, -1, offset, last_epoch, -1, bytes_max) + NO_TAGS
        topics = compact_array([topic_id + compact_array([partition]) + NO_TAGS])
        forgotten, rack = compact_array([]), compact("")
        super().__init__(13, head + topics + forgotten + rack + NO_TAGS)


class Offset(NamedTuple):
    """ListOffsets v6 of one partition."""

    error: int
    offset: int

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        cursor.read(_REPLICA)
        cursor.length()
        cursor.text()
        cursor.length()
        _number, error, _timestamp, offset, _epoch = cursor.read(_OFFSET)
        return cls(error, offset)


class ListOffsets(Request):
    """Asks one partition ``at`` LATEST or EARLIEST, or for the first record of a time in ms or later (offset -1 where
    there is none). The latest is the high watermark, or the last stable offset to READ_COMMITTED."""

    API_KEY = 2
    RESPONSE_TYPE = Offset

    def __init__(self, topic: str, number: int, at: int, isolation: int) -> None:
        partition = struct.pack(">iiq", number, -1, at) + NO_TAGS
        topics = compact_array([compact(topic) + compact_array([partition]) + NO_TAGS])
        super().__init__(6, struct.pack(">ib", -1, isolation) + topics + NO_TAGS)


class EpochEnd(NamedTuple):
    """OffsetForLeaderEpoch v4 of one partition."""

    error: int
    offset: int

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        cursor.read(_I32)
        if cursor.length() != 1:
            return cls(_NO_SUCH_PARTITION, -1)
        cursor.text()
        cursor.length()
        error, _number, _epoch, offset = cursor.read(_EPOCH_END)
        return cls(error, offset)


class OffsetForLeaderEpoch(Request):
    """Asks for the end of an epoch in the log of one partition."""

    API_KEY = 23
    RESPONSE_TYPE = EpochEnd

    def __init__(self, topic: str, number: int, epoch: int) -> None:
        partition = struct.pack(">iii", number, -1, epoch) + NO_TAGS
        topics = compact_array([compact(topic) + compact_array([partition]) + NO_TAGS])
        super().__init__(4, struct.pack(">i", -1) + topics + NO_TAGS)


class TopicIdentity(NamedTuple):
    """Metadata v12 of one topic, as far as it says which topic of which cluster this is."""

    error: int
    cluster_id: str
    topic_id: bytes

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        cursor.read(_I32)
        for _ in range(cursor.length()):  # brokers
            cursor.read(_I32)
            cursor.text()
            cursor.read(_I32)
            cursor.text()
            cursor.tags()
        cluster_id = cursor.text()
        cursor.read(_I32)
        if cursor.length() != 1:
            return cls(_NO_SUCH_PARTITION, cluster_id, bytes(_UUID_BYTES))
        (error,) = cursor.read(_I16)
        cursor.text()
        return cls(error, cluster_id, cursor.take(_UUID_BYTES))


class DescribeTopic(Request):
    """Which topic the name stands for now; it is not created where it is missing."""

    API_KEY = 3
    RESPONSE_TYPE = TopicIdentity

    def __init__(self, topic: str) -> None:
        topics = compact_array([bytes(_UUID_BYTES) + compact(topic) + NO_TAGS])
        super().__init__(12, topics + b"\x00\x00" + NO_TAGS)


_DIVERGING_EPOCH = 0
"""Tag of the partition's answer."""
_NO_SUCH_PARTITION = 3
_UUID_BYTES = 16
_I32 = struct.Struct(">i")
_I16 = struct.Struct(">h")
_EPOCH_END = struct.Struct(">hiiq")
_HEAD = struct.Struct(">ihi")
_PARTITION = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_REPLICA = struct.Struct(">i")
_FETCH = struct.Struct(">iiiibii")
_FETCH_PARTITION = struct.Struct(">iiqiqi")
_OFFSET = struct.Struct(">ihqqi")
