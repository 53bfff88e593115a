"""Damaged files and hostile datagrams: every call comes to an end, and what is not damaged is not lost.

``make fuzz SECONDS=600`` runs the same for so long, with other examples each time; TIDEMARK_FUZZ_SEED repeats a run.
"""

import bz2
import functools
import gzip
import io
import itertools
import lzma
import os
import secrets
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import Framer, FramingError, packet_block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.moldudp64 import HEADER, Line
from ingest.files import RecordedFile

from tests.ingest.line_sender import packets

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SECONDS = float(os.environ.get("TIDEMARK_FUZZ_SECONDS", "0"))
FUZZ = settings(
    deadline=None,
    max_examples=200 if SECONDS else 25,
    derandomize=not SECONDS,
    suppress_health_check=list(HealthCheck),
)
SWALLOWED_MAX = 12
"""Messages beside the damaged ones that a wrong length may take with it: 128 bytes of the shortest, and a neighbour."""
PARTS = 4


def lasting(test: Callable[..., None]) -> Callable[..., None]:
    """With SECONDS, the test goes on with other examples for its part of them. In rounds: Hypothesis remembers what it
    has tried, and would run through the examples that are left when the time is up.
    """

    @functools.wraps(test)
    def rounds(**fixtures: Any) -> None:
        began = time.monotonic()
        first = int(os.environ.get("TIDEMARK_FUZZ_SEED") or secrets.randbits(32))
        print(f"TIDEMARK_FUZZ_SEED={first}")  # shown with a failure
        for number in itertools.count(first):
            (seed(number)(test) if SECONDS else test)(**fixtures)
            if time.monotonic() - began >= SECONDS / PARTS:
                return

    return rounds


@pytest.fixture(scope="module")
def stream() -> bytes:
    return b"".join(exchange_chunks(ExchangeOptions(symbols=5, messages=600)))


def messages_of(stream: bytes) -> list[tuple[int, bytes]]:
    """(offset, message) by the lengths alone."""
    found, at = [], 0
    while at < len(stream):
        size = 2 + int.from_bytes(stream[at : at + 2], "big")
        found.append((at, stream[at + 2 : at + size]))
        at += size
    return found


def read(stream: bytes, chunk: int) -> tuple[list[bytes], Framer, Report]:
    """Every message that comes out. Offsets and sequence numbers only rise, and no byte is unaccounted for."""
    report = Report()
    framer, decoder = Framer(report), Decoder(0, InstrumentRegistry(), report)
    found: list[bytes] = []
    last = (-1, 0)

    def take(block: Any) -> None:
        nonlocal last
        decoder.decode(block)
        for i in range(len(block)):
            start, length = int(block.starts[i]), int(block.lengths[i])
            place = (block.offset(i), block.first_sequence + i)
            assert place[0] > last[0]
            assert place[1] > last[1]
            last = place
            found.append(block.data[start : start + length].tobytes())

    for at in range(0, len(stream), chunk):
        for block in framer.feed(stream[at : at + chunk]):
            take(block)
    for block in framer.finish():
        take(block)
    taken = sum(2 + len(one) for one in found) + report.counts[AnomalyKind.SKIPPED_BYTES]
    assert taken + 2 * report.counts[AnomalyKind.END_MARKER] == framer.offset
    assert framer.offset == len(stream) or report.counts[AnomalyKind.TRUNCATED] == 1
    return found, framer, report


@st.composite
def damages(draw: Any) -> tuple[str, float, int, bytes]:
    kind = draw(st.sampled_from(("lost", "changed", "put in")))
    return kind, draw(st.floats(0.05, 0.95)), draw(st.integers(1, 60)), draw(st.binary(min_size=60, max_size=60))


@lasting
@FUZZ
@given(damage=damages(), chunk=st.sampled_from((97, 1_000, 1 << 20)))
def test_file_when_some_bytes_are_damaged_then_only_the_messages_there_are_lost(
    stream: bytes, damage: tuple[str, float, int, bytes], chunk: int
) -> None:
    kind, where, size, noise = damage
    begin = int(len(stream) * where)
    end = begin if kind == "put in" else begin + size
    broken = stream[:begin] + (b"" if kind == "lost" else noise[:size]) + stream[end:]
    found, _, report = read(broken, chunk)
    before = [raw for offset, raw in messages_of(stream) if offset + 2 + len(raw) <= begin]
    after = [raw for offset, raw in messages_of(stream) if offset >= end]
    assert found[: len(before) - 1] == before[:-1]
    kept = len(after) - SWALLOWED_MAX
    assert found[-kept:] == after[-kept:]
    if len(found) < len(messages_of(stream)) - 1 and kind != "lost":
        assert report.losses(), "messages are missing, and nothing says so"


@lasting
@FUZZ
@given(noise=st.binary(max_size=3_000), chunk=st.integers(60, 4_000), head=st.integers(0, 3_000))
def test_file_when_anything_follows_a_beginning_then_it_comes_to_an_end(
    stream: bytes, noise: bytes, chunk: int, head: int
) -> None:
    try:
        read(stream[:head] + noise, chunk)
    except FramingError as error:
        assert 0 <= error.offset <= head + len(noise)


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("day.itch", data)
    return file.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zip": zipped,
}


@lasting
@FUZZ
@given(packer=st.sampled_from(sorted(PACKERS)), where=st.floats(0, 1), damage=st.binary(max_size=20), cut=st.booleans())
def test_archive_when_damaged_or_cut_off_then_what_comes_out_is_a_beginning_and_it_is_said(
    tmp_path_factory: pytest.TempPathFactory, stream: bytes, packer: str, where: float, damage: bytes, cut: bool
) -> None:
    whole = PACKERS[packer](stream)
    at = int(len(whole) * where)
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(whole[:at] + (b"" if cut else damage + whole[at + len(damage) :]))
    report = Report()
    try:
        out = b"".join(RecordedFile(path, report, chunk_bytes=4_096))
    except FramingError:
        return
    if cut and at > 6:
        assert stream.startswith(out)
        assert out == stream or report.counts[AnomalyKind.BROKEN_ARCHIVE] == 1


@lasting
@FUZZ
@given(
    hostile=st.lists(
        st.tuples(st.integers(0, 199), st.binary(max_size=80), st.sampled_from((b"", b"OTHER     ", b"TESTSESS01"))),
        max_size=60,
    )
)
def test_line_when_hostile_datagrams_come_between_then_the_good_line_loses_nothing(
    stream: bytes, hostile: list[tuple[int, bytes, bytes]]
) -> None:
    good = list(packets("20240603A", stream, 1, 200))
    report = Report()
    line, decoder = Line(report, session="20240603A"), Decoder(0, InstrumentRegistry(), report, is_line=True)
    got = 0
    for place, datagram in enumerate(good):
        for _, body, session in (one for one in hostile if one[0] == place % 200):
            line.receive(session + body, place)
        for run in line.receive(datagram, place):
            decoder.decode(packet_block(run.payload, run.count, run.first_sequence))
            assert run.first_sequence == got + 1
            got += run.count
    assert got == len(messages_of(stream))


def test_line_when_fifty_thousand_strays_come_beside_it_then_it_loses_nothing(stream: bytes) -> None:
    good = list(packets("20240603A", stream, 1, 200))
    strays = [HEADER.pack(b"TESTSESS01", number % 7, number % 3) + bytes(number % 50) for number in range(50_000)]
    line = Line(Report(), session="20240603A")
    share = len(strays) // len(good)
    got = 0
    for place, datagram in enumerate(good):
        for stray in strays[place * share : (place + 1) * share]:
            line.receive(stray, place)
        got += sum(run.count for run in line.receive(datagram, place))
    assert got == len(messages_of(stream))
