"""Feeds of ITCH messages in other wrappings: what they give is what the same messages give framed by lengths."""

import socket
import threading
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.feeds import FeedUnreadable
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.byte_stream import ByteStream
from ingest.domain.capture import TCP, CaptureError, Layer, captured, segment
from ingest.domain.soupbintcp import KIND_BYTES, SoupError, SoupStream, scan_packets
from ingest.domain.unframed import Unframed
from ingest.feeds.offline import reader_ticks

from tests.ingest.capture_files import mold, pcap, pcapng, soup
from tests.ingest.glimpse_server import best_after, glimpse

DAY = date(2024, 1, 2)
NOON_NS = 1_704_214_800_000_000_000
MS = 1_000_000


def read(name: str, *files: Path, **options: Any) -> tuple[Any, Report]:
    report = Report()
    return np.concatenate(list(reader_ticks(name, tuple(map(str, files)), report=report, **options))), report


@pytest.fixture(scope="module")
def datagrams(messages: list[bytes]) -> list[tuple[int, bytes]]:
    """(capture time, packet), 20 messages each, a millisecond apart."""
    return [
        (NOON_NS + at * MS, mold(at * 20 + 1, messages[at * 20 : at * 20 + 20]))
        for at in range(-(-len(messages) // 20))
    ]


# --- captures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda packets: pcap(packets),
        lambda packets: pcap(packets, order=">", nanoseconds=False),
        lambda packets: pcap(packets, vlan=True),
        lambda packets: pcapng(packets),
        lambda packets: pcapng(packets, order=">"),
    ],
    ids=["pcap", "big-endian microseconds", "vlan", "pcapng", "pcapng big-endian"],
)
def test_capture_when_whole_then_the_ticks_of_the_stream(
    write: Callable[..., bytes], datagrams: list[tuple[int, bytes]], expected: Any, tmp_path: Path
) -> None:
    path = tmp_path / "line.pcap"
    path.write_bytes(write(datagrams))
    ticks, report = read("pcap", path)
    assert np.array_equal(ticks, expected)
    assert not report.counts


def test_lines_when_each_lost_other_packets_then_nothing_is_lost(
    datagrams: list[tuple[int, bytes]], expected: Any, tmp_path: Path
) -> None:
    """A loses every third packet, B every fourth and is 2 ms behind; the packets that both lose are the gaps."""
    a = [one for at, one in enumerate(datagrams) if at % 3 != 1]
    b = [(when + 2 * MS, packet) for at, (when, packet) in enumerate(datagrams) if at % 4 != 2]
    (tmp_path / "a.pcap").write_bytes(pcap(a))
    (tmp_path / "b.pcap").write_bytes(pcapng(b))
    ticks, report = read("pcap", tmp_path / "a.pcap", tmp_path / "b.pcap")
    lost = [at for at in range(len(datagrams)) if at % 3 == 1 and at % 4 == 2]
    size = [packet[18] << 8 | packet[19] for _, packet in datagrams]
    gone = np.isin((expected["sequence"] - 1) // 20, lost) & (expected["sequence"] > 0)
    assert np.array_equal(ticks, expected[~gone])
    assert report.counts == {
        AnomalyKind.SEQUENCE_GAP: sum(size[at] for at in lost),
        AnomalyKind.DUPLICATE: sum(size[at] for at in range(len(size)) if at % 3 != 1 and at % 4 != 2),
    }


def test_capture_when_it_begins_late_then_what_was_before_is_a_gap(
    datagrams: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    (tmp_path / "line.pcap").write_bytes(pcap(datagrams[10:]))
    _, report = read("pcap", tmp_path / "line.pcap")
    assert report.counts[AnomalyKind.SEQUENCE_GAP] == 200


def test_capture_when_cut_off_then_counted_with_its_offset(datagrams: list[tuple[int, bytes]], tmp_path: Path) -> None:
    whole = pcap(datagrams)
    (tmp_path / "line.pcap").write_bytes(whole[:-5])
    _, report = read("pcap", tmp_path / "line.pcap")
    anomaly, unfinished = report.examples
    assert (anomaly.kind, anomaly.offset) == (AnomalyKind.TRUNCATED, len(whole) - len(pcap(datagrams[-1:])) + 24)
    assert unfinished.kind is AnomalyKind.UNFINISHED_DAY


def test_capture_when_it_is_none_then_refused(tmp_path: Path) -> None:
    (tmp_path / "line.pcap").write_bytes(b"<html>")
    with pytest.raises(FeedUnreadable, match="neither pcap nor pcapng"):
        read("pcap", tmp_path / "line.pcap")


@given(st.binary(max_size=400), st.integers(0, 2**32), st.booleans())
def test_capture_when_damaged_anywhere_then_read_to_its_end_or_refused(noise: bytes, at: int, ng: bool) -> None:
    packets = [(NOON_NS, mold(1, [b"S" + bytes(11)])), (NOON_NS + 1, mold(2, [b"S" + bytes(11)] * 3))]
    whole = bytearray((pcapng if ng else pcap)(packets))
    at %= len(whole)
    whole[at : at + len(noise)] = noise
    stream = ByteStream(iter([bytes(whole[:50]), bytes(whole[50:])]))
    try:
        for packet in captured(stream):
            segment(packet)
    except CaptureError as error:
        assert 0 <= error.offset <= len(whole)


def test_wire_when_real_packets_then_exact_counts(data_dir: Path) -> None:
    """nasdaq_wire: eleven captures of MoldUDP64, one of which has a packet of 38 messages; six of OUCH over TCP."""
    wire = data_dir / "nasdaq_wire" / "Nasdaq"
    found = dict[str, int]()
    for path in sorted(wire.glob("*Itch*/*.pcap")):
        report = Report()
        list(reader_ticks("pcap", (str(path),), report=report))
        found[f"{path.parent.name[:2]}/{path.stem}"] = report.messages
        a_piece = {AnomalyKind.SEQUENCE_GAP, AnomalyKind.UNKNOWN_LOCATE, AnomalyKind.UNFINISHED_DAY}
        assert set(report.counts) - {AnomalyKind.STRAY_PACKET} == {*a_piece, AnomalyKind.NO_DIRECTORY}
        assert report.counts[AnomalyKind.UNKNOWN_LOCATE] == report.messages  # no capture has a directory message
    assert found.pop("Na/Multiple.Packets") == 39
    assert len(found) == 10
    assert set(found.values()) == {1}


def test_wire_when_a_reference_file_names_the_locates_then_ticks(data_dir: Path, tmp_path: Path) -> None:
    reference = tmp_path / "locates.csv"
    reference.write_text("source_symbol,locate\nZVZZT,5528\n")
    path = data_dir / "nasdaq_wire/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/AddOrderNoMpidAttributionMessage.pcap"
    ticks, report = read("pcap", path, options={"reference": str(reference)})
    assert [chr(kind) for kind in ticks["kind"][:2]] == ["R", "A"]
    assert report.ticks == 1


def test_wire_when_ouch_then_every_soup_packet_is_named(data_dir: Path) -> None:
    kinds = Counter[str]()
    for path in sorted((data_dir / "nasdaq_wire/Nasdaq/Nasdaq.Nsm.Ouch.v5.0").glob("*.pcap")):
        (packet,) = captured(ByteStream(iter([path.read_bytes()])))
        found = segment(packet)
        assert not isinstance(found, Layer)
        assert found.protocol == TCP
        size = int.from_bytes(found.payload[:2], "big")
        kinds[chr(found.payload[2])] += 1
        counts = np.zeros(256, np.int64)
        starts, lengths = np.empty(9, np.int32), np.empty(9, np.uint16)
        data = np.frombuffer(found.payload, np.uint8)
        assert scan_packets(data, 0, starts, lengths, counts, KIND_BYTES)[1] == size + 2 == len(data)
    assert kinds == {"U": 2, "S": 2, "R": 1, "H": 1}


# --- SoupBinTCP ---------------------------------------------------------------------------------------------------


def test_soup_when_whole_then_the_ticks_of_the_stream(messages: list[bytes], expected: Any, tmp_path: Path) -> None:
    (tmp_path / "day.soup").write_bytes(soup(messages))
    ticks, report = read("soupbintcp", tmp_path / "day.soup", day=DAY)
    assert np.array_equal(ticks, expected)
    assert not report.counts
    assert report.skipped == {"login accepted": 1, "debug": 1, "server heartbeat": 1, "end of session": 1}


def test_soup_when_it_has_no_end_then_truncated(messages: list[bytes], tmp_path: Path) -> None:
    whole = soup(messages, ended=False)
    (tmp_path / "day.soup").write_bytes(whole[:-3])
    _, report = read("soupbintcp", tmp_path / "day.soup", day=DAY)
    assert report.counts == {AnomalyKind.TRUNCATED: 1, AnomalyKind.UNFINISHED_DAY: 1}
    assert report.messages == len(messages) - 1


@given(st.lists(st.binary(max_size=30), max_size=8), st.binary(max_size=9), st.integers(1, 50))
def test_soup_when_anything_in_any_pieces_then_consumed_or_refused(parts: list[bytes], tail: bytes, step: int) -> None:
    whole = soup(parts) + tail
    stream = SoupStream(Report())
    count = 0
    try:
        for at in range(0, len(whole), step):
            for block in stream.feed(whole[at : at + step]):
                count += len(block)
    except SoupError as error:
        assert error.offset <= len(whole)
    assert count >= sum(1 for part in parts if part)


def test_soup_when_live_then_logged_in_and_read_to_its_end(messages: list[bytes], expected: Any) -> None:
    logins = list[bytes]()

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            logins.append(connection.recv(100))
            whole = soup(messages)
            for at in range(0, len(whole), 5_000):
                connection.sendall(whole[at : at + 5_000])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        report = Report()
        source = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        options = {"username": "guest", "password": "secret"}
        parts = list(reader_ticks("soupbintcp-live", (source,), options=options, day=DAY, report=report))
        thread.join()
    assert np.array_equal(np.concatenate(parts), expected)
    assert logins == [b"\x00\x2fL" + b"guest secret    " + b" " * 10 + b"%20d" % 1]


# --- a late join --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined_at", [500, 2_001])
def test_glimpse_when_joined_late_then_the_books_of_one_that_was_there_from_the_start(
    joined_at: int, messages: list[bytes], datagrams: list[tuple[int, bytes]], expected: Any, tmp_path: Path
) -> None:
    """The snapshot has the directory and the orders that were open before message ``joined_at``."""
    snapshot = glimpse(messages, expected, joined_at)
    (tmp_path / "snapshot.soup").write_bytes(soup(snapshot))
    (tmp_path / "line.pcap").write_bytes(pcap(datagrams[joined_at // 20 - 3 :]))
    ticks, report = read("glimpse", tmp_path / "snapshot.soup", tmp_path / "line.pcap", day=DAY)
    assert set(report.counts) <= {AnomalyKind.DUPLICATE}
    assert report.skipped["messages of the line that the snapshot has"] > 0
    assert best_after(ticks) == best_after(expected)
    later = ticks[ticks["sequence"] >= joined_at]
    assert np.array_equal(later, expected[expected["sequence"] >= joined_at])


def test_glimpse_when_the_snapshot_has_no_end_then_refused(tmp_path: Path, messages: list[bytes]) -> None:
    (tmp_path / "snapshot.soup").write_bytes(soup(messages[:50]))
    (tmp_path / "line.pcap").write_bytes(pcap([]))
    with pytest.raises(FeedUnreadable, match="has no end"):
        read("glimpse", tmp_path / "snapshot.soup", tmp_path / "line.pcap", day=DAY)


# --- no framing ---------------------------------------------------------------------------------------------------


def test_raw_when_whole_then_the_ticks_of_the_stream(messages: list[bytes], expected: Any, tmp_path: Path) -> None:
    (tmp_path / "day.raw").write_bytes(b"".join(messages))
    ticks, report = read("itch-raw", tmp_path / "day.raw", day=DAY)
    assert np.array_equal(ticks, expected)
    assert not report.counts


def test_raw_when_a_byte_is_damaged_then_goes_on_behind_it_with_the_offset(messages: list[bytes]) -> None:
    whole = bytearray(b"".join(messages))
    place = len(b"".join(messages[:700]))
    whole[place] = 0xFF
    report = Report()
    unframed = Unframed(report)
    found = sum(len(block) for at in range(0, len(whole), 999) for block in unframed.feed(bytes(whole[at : at + 999])))
    found += sum(len(block) for block in unframed.feed(b"", is_last=True))
    assert found == len(messages) - 1
    assert report.examples[0].offset == place


@given(st.binary(max_size=3_000), st.integers(1, 700))
def test_raw_when_anything_in_any_pieces_then_every_byte_is_accounted_for(noise: bytes, step: int) -> None:
    report = Report()
    unframed = Unframed(report)
    pieces = [(noise[at : at + step], False) for at in range(0, len(noise), step)] + [(b"", True)]
    for piece, is_last in pieces:
        for block in unframed.feed(piece, is_last=is_last):
            assert len(block)
    assert unframed.offset <= len(noise)
    assert unframed.offset == len(noise) or report.counts[AnomalyKind.TRUNCATED]


def test_raw_when_itch_41_then_refused_by_its_name(tmp_path: Path) -> None:
    messages = [b"T" + bytes(4), b"S" + bytes(4) + b"O", b"T" + bytes(4), b"R" + bytes(19)]
    for prefix in (0, 2):
        framed = b"".join(len(one).to_bytes(2, "big")[:prefix] + one for one in messages)
        (tmp_path / "old.itch").write_bytes(framed)
        with pytest.raises(FeedUnreadable, match=r"ITCH 4\.1, which is not read"):
            read("itch-raw", tmp_path / "old.itch", day=DAY)
