"""The overrides of aiokafka: what they change is still there to be changed, and does what they say."""

import inspect

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from common.runtime import overrides
from hypothesis import given
from hypothesis import strategies as st

_CHECKED_FROM = 21


def record_batch(*values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 7, 0, 0, 1_000_000)
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1, key=None, value=value, headers=[])
    return bytes(builder.build())


def test_fetch_path_when_aiokafka_builds_records_elsewhere_then_this_fails() -> None:
    overrides.install()
    assert "MemoryRecords(part_data[-1])" in inspect.getsource(fetcher.Fetcher._proc_fetch_request)
    assert "self._consumer_record(tp, record)" in inspect.getsource(fetcher.PartitionRecords._unpack_records)
    assert fetcher.PartitionRecords._consumer_record is overrides._record


def test_record_batches_when_whole_then_they_pass() -> None:
    data = record_batch(b"one", b"two") + record_batch(b"three")
    overrides.verify_record_batches(data)
    overrides.verify_record_batches(data[:-1])  # the last one is partial, which is the broker's right
    overrides.verify_record_batches(b"")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.data())
def test_record_batch_when_any_bit_is_flipped_then_it_is_refused(values: list[bytes], data: st.DataObject) -> None:
    batch = bytearray(record_batch(b"before") + record_batch(*values))
    at = data.draw(st.integers(len(record_batch(b"before")) + _CHECKED_FROM, len(batch) - 1))
    batch[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptRecordException):
        overrides.verify_record_batches(bytes(batch))
