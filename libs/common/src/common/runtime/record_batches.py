"""Record batches of one transaction for one partition, encoded by aiokafka's Cython builder."""

from collections.abc import Iterable
from typing import Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from common.runtime.log import RecordFields
from common.runtime.transaction_requests import ProducerId

BATCH_BYTES_MAX: Final = 900_000
"""Below the broker's default ``message.max.bytes`` of 1 MiB."""
SEQUENCES: Final = 2**31
_COUNT_AT: Final = 57
_NO_HEADERS: list[tuple[str, bytes | None]] = []


def record_count(batch: bytes) -> int:
    """How many records an encoded batch has."""
    return int.from_bytes(batch[_COUNT_AT : _COUNT_AT + 4], "big")


class RecordBatches:
    """What one transaction has for one partition: a batch being filled, and full ones to be sent before it."""

    def __init__(self, producer: ProducerId, sequence: int) -> None:
        self._producer = producer
        self._sequence = sequence
        self.count = 0
        self._full: list[bytes] = []
        self._open()

    def _open(self) -> None:
        _, producer_id, epoch = self._producer
        first = (self._sequence + self.count) % SEQUENCES
        self._builder = DefaultRecordBatchBuilder(2, 0, 1, producer_id, epoch, first, BATCH_BYTES_MAX)
        self._in_builder = 0

    def extend(self, records: Iterable[RecordFields]) -> None:
        """Encodes the records. A record that is larger than a batch may be goes alone; the broker has the last word."""
        append = self._builder.append
        number = self._in_builder
        for key, value, timestamp_ms, headers in records:
            fields = (timestamp_ms, key, value, list(headers) if headers else _NO_HEADERS)
            if append(number, *fields) is None:
                self._in_builder = number
                self._close()
                append, number = self._builder.append, 0
                append(number, *fields)
            number += 1
        self._in_builder = number

    def _close(self) -> None:
        self._full.append(bytes(self._builder.build()))
        self.count += self._in_builder
        self._open()

    def encoded(self) -> list[bytes]:
        """Every batch, in order."""
        if self._in_builder:
            self._close()
        return self._full
