"""Records in columns against aiokafka's builder and reader: the same bytes, the same records, in the same order."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords
from common.columns import Column, OutputColumns, RecordColumns, rows_in_columns
from common.columns.records import ROWS_MIN
from common.contracts.topics import RAW_SCHEMA, Topic
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.kafka.fetch import verify_record_batches
from streams.kafka.record_batches import SEQUENCES, RecordBatches, halves, record_count
from streams.kafka.transaction_requests import ProducerId
from streams.model.declaration import rows_one_by_one
from streams.model.log import RecordFields
from streams.model.message import Headers

PRODUCER = ProducerId(0, 7_000_000_001, 3)
NOW_MS = 1_700_000_000_123
TOPIC = Topic("test.output", "account", RAW_SCHEMA, "test", partitions=1)
HEADERS: Headers = (("traceparent", b"00-1-2-01"), ("é", b""), ("long", bytes(200)))

pairs = st.lists(st.tuples(st.binary(max_size=70), st.binary(max_size=300)), max_size=40)
with_headers = st.dictionaries(st.integers(0, 39), st.sampled_from((HEADERS[:1], HEADERS)), max_size=5)


def column(pieces: Sequence[bytes]) -> Column:
    """The pieces in one text, from the last to the first and with a gap between them."""
    text, begins = bytearray(), [0] * len(pieces)
    for at in reversed(range(len(pieces))):
        begins[at] = len(text)
        text += pieces[at] + b"gap"
    ends = [begin + len(piece) for begin, piece in zip(begins, pieces, strict=True)]
    return Column(np.frombuffer(bytes(text), np.uint8), np.array(begins, np.int64), np.array(ends, np.int64))


def block_of(records: Sequence[tuple[bytes, bytes]], headers: Mapping[int, Headers]) -> RecordColumns:
    keys, values = [key for key, _ in records], [value for _, value in records]
    return RecordColumns(column(keys), column(values), NOW_MS, headers)


def fields(records: Sequence[tuple[bytes, bytes]], headers: Mapping[int, Headers]) -> list[RecordFields]:
    return [(key, value, NOW_MS, headers.get(at, ())) for at, (key, value) in enumerate(records)]


def read(batches: Sequence[bytes]) -> list[RecordFields]:
    """Records as a reader gets them."""
    found: list[RecordFields] = []
    for each in batches:
        verify_record_batches(each)
        whole = MemoryRecords(each)
        while whole.has_next():
            batch = whole.next_batch()
            assert batch.is_transactional
            found += [(r.key, r.value, r.timestamp, tuple(r.headers)) for r in batch]
    return found


def sequences(batches: Sequence[bytes]) -> list[tuple[int, int]]:
    """First sequence number and count of each batch (record batch format 2: bytes 53 to 57)."""
    return [(int.from_bytes(each[53:57], "big"), record_count(each)) for each in batches]


@settings(deadline=None)
@given(records=pairs, headers=with_headers)
def test_block_when_read_one_by_one_then_its_records(
    records: Sequence[tuple[bytes, bytes]], headers: dict[int, Headers]
) -> None:
    headers = {at: each for at, each in headers.items() if at < len(records)}
    assert list(block_of(records, headers)) == fields(records, headers)


@settings(deadline=None)
@given(records=pairs, headers=with_headers, sequence=st.sampled_from((0, 5, SEQUENCES - 3)))
def test_block_when_framed_then_the_bytes_of_aiokafkas_builder(
    records: Sequence[tuple[bytes, bytes]], headers: dict[int, Headers], sequence: int
) -> None:
    headers = {at: each for at, each in headers.items() if at < len(records)}
    built, framed = RecordBatches(PRODUCER, sequence), RecordBatches(PRODUCER, sequence)
    built.extend(fields(records, headers))
    framed.extend_block(block_of(records, headers))
    assert framed.encoded() == built.encoded()
    assert framed.count == len(records)


@settings(deadline=None)
@given(parts=st.lists(st.tuples(st.booleans(), pairs), max_size=5), room=st.integers(60, 2_000))
def test_blocks_between_single_records_when_batches_are_small_then_all_in_order(
    parts: Sequence[tuple[bool, Sequence[tuple[bytes, bytes]]]], room: int
) -> None:
    batches = RecordBatches(PRODUCER, SEQUENCES - 20, bytes_max=61 + room)
    for as_block, records in parts:
        if as_block:
            batches.extend_block(block_of(records, {}))
        else:
            batches.extend(fields(records, {}))
    encoded = batches.encoded()
    assert read(encoded) == [record for _, records in parts for record in fields(records, {})]
    expected = SEQUENCES - 20
    for first, count in sequences(encoded):
        assert first == expected % SEQUENCES
        expected += count


@settings(deadline=None)
@given(
    records=st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=300)), min_size=2, max_size=40),
    sequence=st.sampled_from((0, 5, SEQUENCES - 3)),
    block=st.booleans(),
)
def test_batch_when_it_is_cut_in_two_then_records_and_sequence_numbers_go_on(
    records: Sequence[tuple[bytes, bytes]], sequence: int, block: bool
) -> None:
    whole = RecordBatches(PRODUCER, sequence)
    if block:
        whole.extend_block(block_of(records, {0: HEADERS}))
    else:
        whole.extend(fields(records, {0: HEADERS}))
    (batch,) = whole.encoded()
    both = halves(batch)
    assert read(both) == read([batch])
    (first, count), (second, rest) = sequences(both)
    assert (first, second) == (sequence, (sequence + count) % SEQUENCES)
    assert count + rest == len(records) and abs(count - rest) <= 1


@settings(deadline=None)
@given(records=pairs, bytes_max=st.integers(1, 1_000))
def test_block_when_laid_out_then_no_part_is_longer_than_it_may_be_unless_it_is_one_record(
    records: Sequence[tuple[bytes, bytes]], bytes_max: int
) -> None:
    parts = list(block_of(records, {}).laid_out(bytes_max))
    assert sum(count for count, _ in parts) == len(records)
    assert all(len(part) <= bytes_max or count == 1 for count, part in parts)


rows = st.lists(st.tuples(st.binary(max_size=20), st.none() | st.binary(max_size=20)), max_size=2 * ROWS_MIN)


@settings(deadline=None)
@given(rows=rows, kept=st.booleans())
def test_rows_when_laid_out_then_the_bytes_are_those_of_each_written_by_itself(
    rows: list[tuple[bytes, bytes | None]], kept: bool
) -> None:
    if kept:
        rows = [(key, value or b"") for key, value in rows]
    records = rows_in_columns(rows, NOW_MS)
    assert isinstance(records, RecordColumns) is (len(rows) >= ROWS_MIN and None not in [value for _, value in rows])
    laid_out, built = RecordBatches(PRODUCER, 0), RecordBatches(PRODUCER, 0)
    if isinstance(records, RecordColumns):
        laid_out.extend_block(records)
    else:
        laid_out.extend(records)
    built.extend(rows_one_by_one(rows, NOW_MS))
    assert laid_out.encoded() == built.encoded()


@pytest.mark.parametrize("size", [63, 64, 8_191, 8_192, 1_048_575, 1_048_576])
def test_record_when_its_length_takes_one_byte_more_then_still_aiokafkas_bytes(size: int) -> None:
    records = [(b"", bytes(size)), (bytes(size), b"")]
    built, framed = RecordBatches(PRODUCER, 0), RecordBatches(PRODUCER, 0)
    built.extend(fields(records, {}))
    framed.extend_block(block_of(records, {}))
    assert framed.encoded() == built.encoded()


def test_block_when_it_has_many_records_then_their_offsets_are_aiokafkas() -> None:
    records = [(b"k", b"v")] * 20_000
    built, framed = RecordBatches(PRODUCER, 0), RecordBatches(PRODUCER, 0)
    built.extend(fields(records, {}))
    framed.extend_block(block_of(records, {}))
    assert framed.encoded() == built.encoded()


def test_outputs_when_messages_have_headers_then_each_of_their_records_has_them() -> None:
    of = np.array([0, 2, 2, 3], np.int64)
    pieces = column([b"a", b"b", b"c", b"d"])
    block = OutputColumns(TOPIC, 0, of, pieces, pieces).records(NOW_MS, {1: HEADERS, 2: HEADERS[:1], 3: HEADERS})
    assert [headers for *_, headers in block] == [(), HEADERS[:1], HEADERS[:1], HEADERS]
