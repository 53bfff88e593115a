"""Record batches of one transaction for one partition, encoded by aiokafka's Cython builder.

Records that lay themselves out are only framed here.
"""

import struct
from collections.abc import Iterable
from typing import Final

import google_crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from streams.kafka.transaction_requests import ProducerId
from streams.model.blocks import Buffer, RecordBlock
from streams.model.log import RecordFields

BATCH_BYTES_MAX: Final = 900_000
"""Below the broker's default ``message.max.bytes`` of 1 MiB."""
SEQUENCES: Final = 2**31
_COUNT_AT: Final = 57
_CHECKED: Final = struct.Struct(">hiqqqhii")
"""Attributes, last offset, first and last timestamp, producer id, its epoch, first sequence, count."""
_UNCHECKED: Final = struct.Struct(">qiibI")
"""First offset, length of what follows, leader epoch, format, CRC-32C of what follows."""
_LENGTH_FROM: Final = 12
_TRANSACTIONAL: Final = 0x10
_FORMAT: Final = 2
_NO_EPOCH: Final = -1
_OVERHEAD: Final = _UNCHECKED.size + _CHECKED.size
_NO_HEADERS: list[tuple[str, bytes | None]] = []


def record_count(batch: bytes) -> int:
    """How many records an encoded batch has."""
    return int.from_bytes(batch[_COUNT_AT : _COUNT_AT + 4], "big")


def halves(batch: bytes) -> list[bytes]:
    """The records of a batch of several, in two batches and with the sequence numbers that they had."""
    *_, producer_id, epoch, sequence, count = _CHECKED.unpack_from(batch, _UNCHECKED.size)
    producer = ProducerId(0, producer_id, epoch)
    records = [(r.key, r.value, r.timestamp, r.headers) for r in MemoryRecords(batch).next_batch()]
    middle = count // 2
    split: list[bytes] = []
    for begin, end in ((0, middle), (middle, count)):
        half = RecordBatches(producer, (sequence + begin) % SEQUENCES)
        half.extend(records[begin:end])
        split += half.encoded()
    return split


def size_alone(record: RecordFields) -> int:
    """How many bytes a batch with nothing but this record has."""
    alone = RecordBatches(ProducerId(0, -1, -1), 0)
    alone.extend([record])
    (batch,) = alone.encoded()
    return len(batch)


class RecordBatches:
    """Batches of one transaction for one partition: one that is being filled, and full ones to be sent before it."""

    def __init__(self, producer: ProducerId, sequence: int, bytes_max: int = BATCH_BYTES_MAX) -> None:
        self._producer = producer
        self._sequence = sequence
        self._bytes_max = bytes_max
        self.count = 0
        self._full: list[bytes] = []
        self._open()

    def _open(self) -> None:
        _, producer_id, epoch = self._producer
        first = (self._sequence + self.count) % SEQUENCES
        self._builder = DefaultRecordBatchBuilder(2, 0, 1, producer_id, epoch, first, self._bytes_max)
        self._in_builder = 0

    def extend(self, records: Iterable[RecordFields]) -> None:
        """Encodes the records. A record that is larger than a batch may be goes alone; the broker has the last word."""
        append = self._builder.append
        number = self._in_builder
        for key, value, timestamp_ms, headers in records:
            listed = list(headers) if headers else _NO_HEADERS
            if append(number, timestamp_ms, key, value, listed) is None:
                self._in_builder = number
                self._close()
                append, number = self._builder.append, 0
                append(number, timestamp_ms, key, value, listed)
            number += 1
        self._in_builder = number

    def extend_block(self, block: RecordBlock) -> None:
        """Takes the records as they lay themselves out."""
        if self._in_builder:
            self._close()
        for count, laid_out in block.laid_out(max(self._bytes_max - _OVERHEAD, 1)):
            self._full.append(self._framed(count, block.timestamp_ms, laid_out))
            self.count += count
        self._open()

    def _framed(self, count: int, timestamp_ms: int, laid_out: Buffer) -> bytes:
        _, producer_id, epoch = self._producer
        times = (timestamp_ms, timestamp_ms)
        first = (self._sequence + self.count) % SEQUENCES
        checked = _CHECKED.pack(_TRANSACTIONAL, count - 1, *times, producer_id, epoch, first, count)
        length = _UNCHECKED.size - _LENGTH_FROM + len(checked) + len(laid_out)
        crc = google_crc32c.extend(google_crc32c.value(checked), laid_out)
        return b"".join((_UNCHECKED.pack(0, length, _NO_EPOCH, _FORMAT, crc), checked, laid_out))

    def _close(self) -> None:
        self._full.append(bytes(self._builder.build()))
        self.count += self._in_builder
        self._open()

    def encoded(self) -> list[bytes]:
        """Every batch, in order."""
        if self._in_builder:
            self._close()
        return self._full
