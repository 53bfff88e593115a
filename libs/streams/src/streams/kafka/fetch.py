"""Record batches of a fetch response, turned into the committed records that a reader gets."""

from collections import deque
from collections.abc import Sequence

import google_crc32c
from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from streams.kafka.read_requests import Fetched
from streams.model.log import StoredRecord

_LENGTH_AT = 8
_EPOCH_AT = 12
_CRC_AT = 17
_CHECKED_FROM = 21
_OVERHEAD = 12


def verify_record_batches(data: bytes) -> None:
    """Checks the CRC-32C of every whole record batch (format 2), in hardware; aiokafka's own check is in software.

    Raises CorruptRecordException. A partial batch at the end is the broker's way to respect the byte limit.
    """
    at, end = 0, len(data)
    while at + _CHECKED_FROM <= end:
        length = int.from_bytes(data[at + _LENGTH_AT : at + _LENGTH_AT + 4], "big")
        after = at + _OVERHEAD + length
        if after > end:
            return
        stored = int.from_bytes(data[at + _CRC_AT : at + _CRC_AT + 4], "big")
        if google_crc32c.value(data[at + _CHECKED_FROM : after]) != stored:
            raise CorruptRecordException(f"record batch at byte {at} of a fetch response fails its CRC-32C")
        at = after


def last_leader_epoch(data: bytes, before: int) -> int:
    """Leader epoch of the last whole record batch; ``before`` where there is none."""
    at, epoch = 0, before
    while at + _CHECKED_FROM <= len(data):
        after = at + _OVERHEAD + int.from_bytes(data[at + _LENGTH_AT : at + _LENGTH_AT + 4], "big")
        if after > len(data):
            break
        epoch = int.from_bytes(data[at + _EPOCH_AT : at + _EPOCH_AT + 4], "big", signed=True)
        at = after
    return epoch


def committed_records(fetched: Fetched, position: int) -> tuple[Sequence[StoredRecord], int]:
    """The records from ``position`` on that no aborted transaction wrote, and the position after all that was read.

    The broker names the aborted transactions with their first offset; each ends at its producer's next abort marker
    (KIP-98). Raises CorruptRecordException.
    """
    verify_record_batches(fetched.data)
    starting = deque(sorted(fetched.aborted, key=lambda transaction: transaction[1]))
    aborting: set[int] = set()
    records: list[StoredRecord] = []
    batches = MemoryRecords(fetched.data)
    while batches.has_next():
        batch = batches.next_batch()
        while starting and starting[0][1] <= batch.base_offset:
            aborting.add(starting.popleft()[0])
        if batch.is_control_batch:
            # Compaction takes a marker and leaves its batch empty while the broker still knows the producer by it; what
            # the marker ended was taken before.
            marker = next(iter(batch), None)
            if marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER:
                aborting.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in aborting):
            if batch.base_offset >= position:
                records.extend(batch)
            else:
                records += [record for record in batch if record.offset >= position]
        position = max(position, batch.next_offset)
    return records, position
