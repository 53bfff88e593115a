"""SoupBinTCP sessions that are logged in to again, recorded in parts, or damaged: nothing twice, no loss unsaid."""

import socket
import threading
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.feeds import FeedUnreadable
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.soupbintcp import SoupError, SoupStream, packet
from ingest.feeds.offline import reader_ticks

from tests.ingest.capture_files import soup

DAY = date(2024, 1, 2)
SEQUENCED = ord("S")


def login(sequence: int, session: bytes = b"SESSION001") -> bytes:
    return packet(ord("A"), session + b"%20d" % sequence)


def sequenced(messages: list[bytes]) -> bytes:
    return b"".join(packet(SEQUENCED, one) for one in messages)


def read(tmp_path: Path, *sources: bytes) -> tuple[Any, Report]:
    files = [tmp_path / f"{number}.soup" for number in range(len(sources))]
    for file, source in zip(files, sources, strict=True):
        file.write_bytes(source)
    report = Report()
    parts = list(reader_ticks("soupbintcp", tuple(map(str, files)), day=DAY, report=report))
    return np.concatenate(parts), report


@pytest.mark.parametrize("again", [1_001, 1_000, 501, 1])
def test_session_when_logged_in_again_then_each_message_once(
    again: int, messages: list[bytes], expected: Any, tmp_path: Path
) -> None:
    whole = login(1) + sequenced(messages[:1_000]) + login(again) + sequenced(messages[again - 1 :]) + packet(ord("Z"))
    ticks, report = read(tmp_path, whole)
    assert np.array_equal(ticks, expected)
    repeated = 1_001 - again
    assert report.counts == ({AnomalyKind.DUPLICATE: repeated} if repeated else {})


def test_session_when_recorded_in_two_files_then_one_session(
    messages: list[bytes], expected: Any, tmp_path: Path
) -> None:
    ticks, report = read(tmp_path, login(1) + sequenced(messages[:700]), soup(messages[700:], sequence=701))
    assert np.array_equal(ticks, expected)
    assert not report.counts


def test_session_when_it_goes_on_further_ahead_then_what_lies_between_is_a_gap(
    messages: list[bytes], tmp_path: Path
) -> None:
    first = login(1) + sequenced(messages[:700])
    _, report = read(tmp_path, first + login(801) + sequenced(messages[800:]) + packet(ord("Z")))
    gap = report.examples[0]
    assert (gap.kind, gap.offset, gap.sequence) == (AnomalyKind.SEQUENCE_GAP, len(first), 701)
    assert report.counts[AnomalyKind.SEQUENCE_GAP] == 100
    assert report.messages == len(messages) - 100


def test_session_when_joined_late_then_what_was_before_is_a_gap(messages: list[bytes], tmp_path: Path) -> None:
    _, report = read(tmp_path, soup(messages[50:], sequence=51))
    assert report.counts[AnomalyKind.SEQUENCE_GAP] == 50


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (login(1, b"SESSION002"), "session 'SESSION002' follows 'SESSION001'"),
        (packet(ord("J"), b"A"), r"login rejected, reason 'A' \(not authorized"),
        (packet(ord("J"), b"S"), r"login rejected, reason 'S' \(the session is not available"),
        (packet(ord("A"), b" " * 30), "a login answer that cannot be read"),
    ],
    ids=["another session", "not authorized", "no session", "no number"],
)
def test_session_when_it_cannot_go_on_then_refused_with_the_reason(
    rest: bytes, said: str, messages: list[bytes], tmp_path: Path
) -> None:
    with pytest.raises(FeedUnreadable, match=said):
        read(tmp_path, login(1) + sequenced(messages[:20]) + rest)


@pytest.mark.parametrize("noise", [b"\xff", b"\0\0", b"\0\x05\xff1234", bytes(300), b"\x12\x34" * 77])
def test_damage_when_between_packets_then_counted_with_its_place_and_read_on(
    noise: bytes, messages: list[bytes], tmp_path: Path
) -> None:
    head = login(1) + sequenced(messages[:1_500])
    _, report = read(tmp_path, head + noise + sequenced(messages[1_500:]) + packet(ord("Z")))
    assert [(case.kind, case.offset) for case in report.examples] == [(AnomalyKind.SKIPPED_BYTES, len(head))]
    assert report.counts == {AnomalyKind.SKIPPED_BYTES: len(noise)}
    assert report.messages == len(messages)


def test_live_session_when_the_connection_is_lost_then_it_goes_on_with_the_next_message(
    messages: list[bytes], expected: Any
) -> None:
    logins = list[bytes]()
    cuts = [700, 1_500, len(messages)]

    def serve(listening: socket.socket) -> None:
        for cut in cuts:
            connection, _ = listening.accept()
            with connection:
                logins.append(connection.recv(100))
                asked = int(logins[-1][-20:])
                end = packet(ord("Z")) if cut == len(messages) else packet(SEQUENCED, messages[cut])[:9]
                connection.sendall(login(asked) + sequenced(messages[asked - 1 : cut]) + end)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        report = Report()
        source = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        parts = list(reader_ticks("soupbintcp-live", (source,), day=DAY, report=report))
        thread.join()
    assert np.array_equal(np.concatenate(parts), expected)
    assert [int(one[-20:]) for one in logins] == [1, 701, 1_501]
    assert [one[19:29] for one in logins] == [b" " * 10, b"SESSION001", b"SESSION001"]
    assert not report.counts


def test_live_session_when_nobody_is_there_then_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(FeedUnreadable, match="Connection refused"):
        list(reader_ticks("soupbintcp-live", (f"tcp://127.0.0.1:{port}",), day=DAY))


@given(
    messages=st.lists(st.just(b"S" + bytes(11)), min_size=5, max_size=9),
    noise=st.binary(max_size=40),
    at=st.integers(0, 200),
    step=st.integers(1, 60),
)
def test_session_when_damaged_anywhere_then_every_byte_is_passed_or_refused(
    messages: list[bytes], noise: bytes, at: int, step: int
) -> None:
    whole = bytearray(login(1) + sequenced(messages) + packet(ord("Z")))
    whole[at % len(whole) : at % len(whole) + len(noise) // 2] = noise
    report = Report()
    stream = SoupStream(report)
    try:
        for start in range(0, len(whole), step):
            list(stream.feed(bytes(whole[start : start + step])))
        list(stream.feed(b"", is_last=True))
    except SoupError as error:
        assert error.offset <= len(whole)
        return
    offset = stream.offset
    assert offset + stream.take_left() == len(whole)
    assert report.counts[AnomalyKind.SKIPPED_BYTES] <= len(whole)
