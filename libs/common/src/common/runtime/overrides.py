"""Overrides of aiokafka 0.14 internals, each with its reason. ``tests/common/test_overrides.py`` notices when a release
makes one void.
"""

from typing import Any

import google_crc32c
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from common.runtime.log import StoredRecord

_BATCH_LENGTH_AT = 8
_BATCH_CRC_AT = 17
_BATCH_CHECKED_FROM = 21
_BATCH_OVERHEAD = 12


def verify_record_batches(data: bytes) -> None:
    """Checks the CRC-32C of every whole record batch (format 2) in a fetch response, in hardware.

    Raises CorruptRecordException. A partial batch at the end is the broker's way to respect the byte limit.
    """
    at, end = 0, len(data)
    while at + _BATCH_CHECKED_FROM <= end:
        length = int.from_bytes(data[at + _BATCH_LENGTH_AT : at + _BATCH_LENGTH_AT + 4], "big")
        after = at + _BATCH_OVERHEAD + length
        if after > end:
            return
        stored = int.from_bytes(data[at + _BATCH_CRC_AT : at + _BATCH_CRC_AT + 4], "big")
        if google_crc32c.value(data[at + _BATCH_CHECKED_FROM : after]) != stored:
            raise CorruptRecordException(f"record batch at byte {at} of a fetch response fails its CRC-32C")
        at = after


def _checked_records(data: bytes) -> MemoryRecords:
    verify_record_batches(data)
    return MemoryRecords(data)


def as_stored_record(_key: bytes) -> bytes:
    """A consumer with this ``key_deserializer`` gets StoredRecord, not aiokafka's ConsumerRecord: eleven fields in a
    frozen dataclass cost as much as the rest of receiving a small record. It is a mark and is never called."""
    raise AssertionError("a mark, not a deserializer")


_consumer_record = fetcher.PartitionRecords._consumer_record


def _record(records: Any, partition: Any, record: Any) -> Any:
    if records._key_deserializer is as_stored_record:
        return StoredRecord(record.offset, record.key, record.value, record.timestamp, record.headers)
    return _consumer_record(records, partition, record)


def install() -> None:
    """Idempotent. Consumers must be made with ``check_crcs=False``: the check here replaces aiokafka's software one."""
    fetcher.MemoryRecords = _checked_records
    fetcher.PartitionRecords._consumer_record = _record
