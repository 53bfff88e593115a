"""Fetch responses: a batch that was damaged on its way is refused; what an aborted transaction wrote is left out."""

import google_crc32c
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st
from streams.kafka.fetch import committed_records, verify_record_batches
from streams.kafka.read_requests import Fetched

_CHECKED_FROM = 21


def record_batch(*values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 7, 0, 0, 1_000_000)
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1, key=None, value=value, headers=[])
    return bytes(builder.build())


def test_record_batches_when_whole_then_they_pass() -> None:
    data = record_batch(b"one", b"two") + record_batch(b"three")
    verify_record_batches(data)
    verify_record_batches(data[:-1])  # the last one is partial, which is the broker's right
    verify_record_batches(b"")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.data())
def test_record_batch_when_any_bit_is_flipped_then_it_is_refused(values: list[bytes], data: st.DataObject) -> None:
    batch = bytearray(record_batch(b"before") + record_batch(*values))
    at = data.draw(st.integers(len(record_batch(b"before")) + _CHECKED_FROM, len(batch) - 1))
    batch[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptRecordException):
        verify_record_batches(bytes(batch))


def transactional_batch(producer_id: int, base_offset: int, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer_id, 0, 0, 1_000_000)
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1, key=None, value=value, headers=[])
    return base_offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def test_aborted_transaction_when_another_is_interleaved_then_only_its_own_records_are_left_out() -> None:
    data = transactional_batch(7, 10, b"aborted", b"too") + transactional_batch(8, 12, b"kept", b"also")
    records, position = committed_records(Fetched(0, [(7, 10)], data), position=10)
    assert [(record.offset, record.value) for record in records] == [(12, b"kept"), (13, b"also")]
    assert position == 14


def test_batch_when_the_position_is_in_its_middle_then_it_begins_there() -> None:
    data = transactional_batch(7, 10, b"10", b"11", b"12")
    records, position = committed_records(Fetched(0, [], data), position=11)
    assert [record.value for record in records] == [b"11", b"12"]
    assert position == 13


def emptied(batch: bytes) -> bytes:
    """As log compaction leaves the last batch of a producer: its header, offsets and producer, and no record."""
    head = bytearray(batch[:61])
    head[8:12] = (61 - 12).to_bytes(4, "big")
    head[57:61] = bytes(4)
    head[17:21] = google_crc32c.value(bytes(head[21:])).to_bytes(4, "big")
    return bytes(head)


def control_batch(producer_id: int, base_offset: int) -> bytes:
    """An abort marker."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer_id, 0, -1, 1_000)
    builder.append(0, timestamp=1, key=b"\x00\x00\x00\x00", value=bytes(6), headers=[])
    batch = bytearray(builder.build())
    batch[:8] = base_offset.to_bytes(8, "big")
    batch[22] |= 0x20
    batch[17:21] = google_crc32c.value(bytes(batch[21:])).to_bytes(4, "big")
    return bytes(batch)


def test_batches_when_compaction_left_them_empty_then_they_are_passed() -> None:
    left = emptied(transactional_batch(7, 10, b"10", b"11")) + emptied(control_batch(8, 12))
    data = left + transactional_batch(8, 13, b"aborted") + control_batch(8, 14) + transactional_batch(8, 15, b"15")
    records, position = committed_records(Fetched(0, [(8, 13)], data), position=10)
    assert [(record.offset, record.value) for record in records] == [(15, b"15")]
    assert position == 16
    assert committed_records(Fetched(0, [], left), position=10) == ([], 13)


def test_fetched_when_nothing_came_then_the_position_stays() -> None:
    assert committed_records(Fetched(0, [], b""), position=11) == ([], 11)
