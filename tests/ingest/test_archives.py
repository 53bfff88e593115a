"""Archives that recorded feeds are packed in, and the kinds of files that are none."""

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import Framer, FramingError
from ingest.files import RecordedFile

from tests.ingest.capture_files import messages_of, mold, soup

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture(scope="module")
def recorded() -> bytes:
    return b"".join(exchange_chunks(ExchangeOptions(symbols=5, messages=2_000)))


def zipped(*parts: bytes, method: int = zipfile.ZIP_DEFLATED, streamed: bool = False) -> bytes:
    file = io.BytesIO()
    target = _Unseekable(file) if streamed else file
    with zipfile.ZipFile(target, "w", method) as archive:
        for number, part in enumerate(parts):
            archive.writestr(f"part{number}.itch", part)
        archive.writestr("__MACOSX/._part0.itch", b"resource fork")
    return file.getvalue()


class _Unseekable(io.RawIOBase):
    """A pipe: sizes and checksums then follow the data."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._file.write(data)


SKIPPABLE = b"\x5a\x2a\x4d\x18\x07\0\0\0seekable"[:-1]
"""A frame that readers of zstd pass over, as pzstd and seekable files have them."""


def with_notes(data: bytes) -> bytes:
    """A zip of what people put beside the data, before and behind it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "thanks")
        archive.writestr("data/day.itch", data)
        archive.writestr("data/day.itch.sha256", "0" * 64)
    return file.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip, two members": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
    "gzip, padded between": lambda data: gzip.compress(data[:999]) + bytes(40_000) + gzip.compress(data[999:]),
    "gzip, padded behind": lambda data: gzip.compress(data) + bytes(17),
    "bzip2": bz2.compress,
    "bzip2, two streams": lambda data: bz2.compress(data[:999]) + bz2.compress(data[999:]),
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zstd, two frames": lambda data: zstd.compress(data[:999]) + zstd.compress(data[999:]),
    "zstd, frames to be skipped": lambda data: (
        SKIPPABLE + zstd.compress(data[:999]) + SKIPPABLE + SKIPPABLE + zstd.compress(data[999:]) + SKIPPABLE
    ),
    "zip": zipped,
    "zip, two members": lambda data: zipped(data[:999], data[999:]),
    "zip, stored": lambda data: zipped(data, method=zipfile.ZIP_STORED),
    "zip, written to a pipe": lambda data: zipped(data, streamed=True),
    "zip, with notes beside the data": with_notes,
    "gzip in a zip": lambda data: zipped(gzip.compress(data)),
    "two of gzip in a zip": lambda data: zipped(gzip.compress(data[:999]), gzip.compress(data[999:])),
    "zip in gzip": lambda data: gzip.compress(zipped(data)),
    "xz in bzip2 in gzip": lambda data: gzip.compress(bz2.compress(lzma.compress(data))),
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("chunk", [4_096, 1 << 20])
def test_file_when_packed_then_the_same_bytes(
    tmp_path: Path, recorded: bytes, pack: Callable[[bytes], bytes], chunk: int
) -> None:
    path = tmp_path / "feed"
    path.write_bytes(pack(recorded))
    report = Report()
    chunks = list(RecordedFile(path, report, chunk_bytes=chunk))
    assert b"".join(chunks) == recorded
    assert max(map(len, chunks)) <= chunk
    assert not report.counts


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd", "zip"])
def test_archive_when_cut_off_then_its_true_end_is_said(tmp_path: Path, recorded: bytes, name: str) -> None:
    packed = PACKED[name](recorded)
    path = tmp_path / "feed"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    report = Report()
    assert recorded.startswith(b"".join(RecordedFile(path, report)))
    assert report.counts == {AnomalyKind.BROKEN_ARCHIVE: 1}
    assert report.examples[0].offset == len(packed) * 2 // 3


def test_gzip_when_something_else_follows_then_said_where(tmp_path: Path, recorded: bytes) -> None:
    packed = gzip.compress(recorded)
    path = tmp_path / "feed"
    path.write_bytes(packed + b"\x17garbage")
    report = Report()
    assert b"".join(RecordedFile(path, report)) == recorded
    assert [(one.kind, one.offset) for one in report.examples] == [(AnomalyKind.BROKEN_ARCHIVE, len(packed))]


def test_gzip_when_every_message_is_a_member_then_read_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"".join(gzip.compress(b"%d" % number, 1) for number in range(5_000)))
    assert b"".join(RecordedFile(path, Report())) == b"".join(b"%d" % number for number in range(5_000))


def test_gzip_when_its_checksum_is_wrong_then_every_byte_before_it_and_said(tmp_path: Path, recorded: bytes) -> None:
    packed = gzip.compress(recorded)
    path = tmp_path / "feed"
    path.write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    report = Report()
    assert b"".join(RecordedFile(path, report)) == recorded
    assert report.counts == {AnomalyKind.BROKEN_ARCHIVE: 1}


def test_archive_in_an_archive_when_cut_off_then_said_which(tmp_path: Path, recorded: bytes) -> None:
    inner = gzip.compress(recorded)[:-500]
    path = tmp_path / "feed"
    path.write_bytes(zipped(inner))
    report = Report()
    assert recorded.startswith(b"".join(RecordedFile(path, report)))
    (broken,) = report.examples
    assert (broken.offset, broken.detail) == (len(inner), "the archive ends early (offset in the archive within it)")


def test_zstd_when_a_frame_to_be_skipped_is_cut_off_then_said(tmp_path: Path, recorded: bytes) -> None:
    packed = zstd.compress(recorded) + SKIPPABLE[:-2]
    path = tmp_path / "feed"
    path.write_bytes(packed)
    report = Report()
    assert b"".join(RecordedFile(path, report)) == recorded
    assert [(one.kind, one.offset) for one in report.examples] == [(AnomalyKind.BROKEN_ARCHIVE, len(packed))]


def test_zip_when_a_member_is_no_data_by_its_name_then_passed_over_and_said(tmp_path: Path, recorded: bytes) -> None:
    path = tmp_path / "feed"
    path.write_bytes(with_notes(recorded))
    report = Report()
    assert b"".join(RecordedFile(path, report)) == recorded
    said = "in the archive, no data by its name"
    assert report.skipped == {f"'README.txt' {said}": 1, f"'data/day.itch.sha256' {said}": 1}


def test_file_when_the_machine_cannot_read_on_then_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="/proc/self/mem"):
        list(RecordedFile(Path("/proc/self/mem"), Report()))


def test_zip_when_encrypted_then_refused(tmp_path: Path, recorded: bytes) -> None:
    packed = bytearray(zipped(recorded))
    packed[6] |= 1
    path = tmp_path / "feed"
    path.write_bytes(packed)
    with pytest.raises(FramingError, match="encrypted"):
        list(RecordedFile(path, Report()))


@pytest.mark.parametrize("pack", [PACKED["plain"], PACKED["gzip"], PACKED["zip"]])
def test_pipe_when_read_then_the_same_bytes(tmp_path: Path, recorded: bytes, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(pack(recorded)))
    writer.start()
    source = RecordedFile(path, Report())
    assert b"".join(source) == recorded
    assert source.bytes_total == 0
    writer.join()


def framed(messages: list[bytes], order: str) -> bytes:
    return b"".join(len(one).to_bytes(2, "big" if order == "big" else "little") + one for one in messages)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: b"\xd4\xc3\xb2\xa1" + bytes(200), "a pcap capture: --feed pcap"),
        (lambda _: b"\x0a\x0d\x0d\x0a" + bytes(200), "a pcapng capture: --feed pcap"),
        (lambda _: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page"),
        (lambda _: b"DBN\x01" + bytes(200), "Databento's DBN: --feed dbn"),
        (lambda _: b"PAR1" + bytes(200), "a Parquet file: --feed parquet"),
        (lambda _: b"7z\xbc\xaf\x27\x1c" + bytes(200), "7z"),
        (lambda _: b'{"what":"BTCUSDT"}\n' * 9, "JSON"),
        (lambda _: b'1723161253937085768 {"stream":"btcusdt@depth"}\n' * 9, "--feed binance"),
        (lambda _: b"wss://ws.kraken.com <-> 1618678132.3858151\n" * 9, "--feed kraken"),
        (lambda _: b"34200.1,1,206833312,18,5853300,1\n" * 9, "--feed lobster"),
        (lambda _: b"time,symbol,price,qty\n" * 9, "--feed csv"),
        (lambda _: b"\xef\xbb\xbf" + b"time,symbol,price,qty\n" * 9, "--feed csv"),
        (lambda _: b"\xff\xfe" + "time,symbol,price,qty\n".encode("utf-16le") * 9, "UTF-16"),
        (lambda _: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a failed download"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
        (lambda _: b"snoop\0\0\0" + bytes(200), "a snoop capture"),
        (lambda _: b"\x1f\x9d\x90" + bytes(200), "compress"),
        (lambda _: b"LZIP\x01" + bytes(200), "lzip"),
        (lambda _: b"Obj\x01" + bytes(200), "an Avro file"),
        (
            lambda recorded: b"".join(mold(at, [one]) for at, one in enumerate(messages_of(recorded), 1)),
            "MoldUDP64 packets without a capture",
        ),
        (lambda recorded: soup(messages_of(recorded)), "SoupBinTCP packets: --feed soupbintcp"),
        (lambda recorded: b"".join(messages_of(recorded)), "without any framing: --feed itch-raw"),
        (lambda recorded: framed(messages_of(recorded), "little"), "little-endian"),
        (
            lambda recorded: framed([b"S" + one for one in messages_of(recorded)], "big"),
            "SoupBinTCP packets: --feed soupbintcp",
        ),
        (lambda _: framed([b"T" + bytes(4), b"S" + bytes(5), b"R" + bytes(19)] * 9, "big"), "older version"),
    ],
)
def test_file_when_it_is_no_feed_then_named(recorded: bytes, make: Callable[[bytes], bytes], name: str) -> None:
    with pytest.raises(FramingError, match=f"neither framing .*{name}.* at byte 0"):
        list(Framer(Report()).feed(make(recorded)))
