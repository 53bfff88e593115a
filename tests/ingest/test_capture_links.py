"""Captures of every link type and of every kind of damage that a line's packets have there."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.feeds import FeedUnavailable
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.feeds.offline import reader_ticks

from tests.ingest.capture_files import ethernet, mold

NOON_S = 1_704_214_800
ETHERTYPE_AT = 12
IPV4_AT = 14
LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, lambda ip: bytes(12) + b"\x08\x00" + ip),
    "ethernet with a checksum behind": (1, lambda ip: bytes(12) + b"\x08\x00" + ip + b"\1\2\3\4"),
    "two VLAN tags": (1, lambda ip: bytes(12) + b"\x88\xa8\x00\x64\x81\x00\x00\x65\x08\x00" + ip),
    "Linux cooked": (113, lambda ip: struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 0x0800) + ip),
    "Linux cooked, VLAN": (113, lambda ip: struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 0x8100) + b"\0\x64\x08\0" + ip),
    "Linux cooked, version 2": (276, lambda ip: struct.pack(">HHIHBB8s", 0x0800, 0, 2, 1, 0, 6, bytes(8)) + ip),
    "raw IP": (101, lambda ip: ip),
    "BSD loopback": (0, lambda ip: struct.pack("<I", 2) + ip),
    "OpenBSD loopback": (108, lambda ip: struct.pack(">I", 2) + ip),
}
"""Link type, and an IP packet in its frame."""


def capture(frames: list[bytes], link: int, *, kept: int = 262_144) -> bytes:
    """A pcap of microseconds that keeps so many bytes of each packet."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, kept, link)]
    for at, frame in enumerate(frames):
        out.append(struct.pack("<IIII", NOON_S, at, min(kept, len(frame)), len(frame)) + frame[:kept])
    return b"".join(out)


@pytest.fixture(scope="module")
def packets(messages: list[bytes]) -> list[bytes]:
    """IP packets of the day's line, 20 messages each."""
    starts = range(0, len(messages), 20)
    return [ethernet(mold(at + 1, messages[at : at + 20]))[IPV4_AT:] for at in starts]


def read(path: Path, **options: str) -> tuple[list[Any], Report]:
    report = Report()
    return list(reader_ticks("pcap", (str(path),), options=options, report=report)), report


@pytest.mark.parametrize("link", LINKS)
def test_capture_when_of_any_link_type_then_the_ticks_of_the_stream(
    link: str, packets: list[bytes], expected: Any, tmp_path: Path
) -> None:
    number, frame = LINKS[link]
    (tmp_path / "line.pcap").write_bytes(capture([frame(ip) for ip in packets], number))
    ticks, report = read(tmp_path / "line.pcap")
    assert np.array_equal(np.concatenate(ticks), expected)
    assert not report.counts


def test_capture_when_it_kept_only_beginnings_then_said_so(packets: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "line.pcap").write_bytes(capture(packets, 101, kept=60))
    _, report = read(tmp_path / "line.pcap")
    (reason,) = report.skipped
    assert "the capture kept only the beginning" in reason
    assert report.skipped[reason] == len(packets)


def test_capture_when_some_packets_are_cut_then_the_messages_that_are_not_whole_are_a_gap(
    packets: list[bytes], messages: list[bytes], tmp_path: Path
) -> None:
    """The first packet is whole, so that the flow is known as the line's."""
    (tmp_path / "line.pcap").write_bytes(
        capture(packets[:1], 101) + capture(packets[1:], 101, kept=300)[24:]  # one file header
    )
    _, report = read(tmp_path / "line.pcap")
    assert report.counts[AnomalyKind.MALFORMED_PACKET] == sum(len(packet) > 300 for packet in packets[1:])
    assert report.messages + report.counts[AnomalyKind.SEQUENCE_GAP] <= len(messages)
    assert report.counts[AnomalyKind.SEQUENCE_GAP] > 0


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "1.5"])
def test_port_when_it_is_none_then_refused(port: str, packets: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "line.pcap").write_bytes(capture(packets[:1], 101))
    with pytest.raises(FeedUnavailable, match="is no number from 1 to 65535"):
        read(tmp_path / "line.pcap", port=port)
