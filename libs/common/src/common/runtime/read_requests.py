"""The requests of a reader: records, and where a partition begins and ends."""

import struct
from io import BytesIO
from typing import NamedTuple, Self

from common.runtime.wire import NO_TAGS, Cursor, Request, compact, compact_array

READ_UNCOMMITTED = 0
READ_COMMITTED = 1
LATEST = -1
EARLIEST = -2


class Fetched(NamedTuple):
    """Fetch v12 of one partition: whole record batches and perhaps part of one more.

    ``aborted``: (producer id, first offset) of each aborted transaction that reaches into them.
    """

    error: int
    aborted: list[tuple[int, int]]
    data: bytes

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        _throttle, error, _session = cursor.read(_HEAD)
        if error or cursor.length() != 1:
            return cls(error or _NO_SUCH_PARTITION, [], b"")
        cursor.text()
        cursor.length()
        _number, error, _high, _stable, _low = cursor.read(_PARTITION)
        aborted = []
        for _ in range(max(cursor.length(), 0)):
            aborted.append(cursor.read(_ABORTED))
            cursor.tags()
        cursor.read(_REPLICA)
        return cls(error, aborted, cursor.take(max(cursor.length(), 0)))


class Fetch(Request):
    """One partition, committed records, outside any fetch session. The broker waits until there is a byte."""

    API_KEY = 1
    RESPONSE_TYPE = Fetched

    def __init__(self, topic: str, number: int, offset: int, wait_ms: int, bytes_max: int) -> None:
        head = _FETCH.pack(-1, wait_ms, 1, bytes_max, READ_COMMITTED, 0, -1)
        partition = _FETCH_PARTITION.pack(number, -1, offset, -1, -1, bytes_max) + NO_TAGS
        topics = compact_array([compact(topic) + compact_array([partition]) + NO_TAGS])
        forgotten, rack = compact_array([]), compact("")
        super().__init__(12, head + topics + forgotten + rack + NO_TAGS)


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
    """Of one partition: ``at`` LATEST or EARLIEST. The latest is the high watermark, or the last stable offset to
    READ_COMMITTED."""

    API_KEY = 2
    RESPONSE_TYPE = Offset

    def __init__(self, topic: str, number: int, at: int, isolation: int) -> None:
        partition = struct.pack(">iiq", number, -1, at) + NO_TAGS
        topics = compact_array([compact(topic) + compact_array([partition]) + NO_TAGS])
        super().__init__(6, struct.pack(">ib", -1, isolation) + topics + NO_TAGS)


_NO_SUCH_PARTITION = 3
_HEAD = struct.Struct(">ihi")
_PARTITION = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_REPLICA = struct.Struct(">i")
_FETCH = struct.Struct(">iiiibii")
_FETCH_PARTITION = struct.Struct(">iiqiqi")
_OFFSET = struct.Struct(">ihqqi")
