"""MoldUDP64: what a line does with packets that are lost, late, repeated, cut or from another session."""

import asyncio
from collections.abc import Callable
from typing import Any

from common.contracts.ticks import TickKind
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.framing import packet_block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.moldudp64 import HEADER, Line, Run, joined, parse_packet, request_packet
from ingest.udp import open_line

from tests.ingest.line_sender import end_packet, heartbeat_packet, packets, send_packets

HOLD_NS = 1_000
SESSION = "S000000001"


def _frames(count: int) -> bytes:
    """Messages 1 to ``count``: four bytes that say their number."""
    return b"".join(b"\0\4" + number.to_bytes(4, "big") for number in range(1, count + 1))


def _numbers(runs: list[Run]) -> list[int]:
    """Sequence numbers delivered; each message must carry its own."""
    numbers = []
    for run in runs:
        block = packet_block(run.payload, run.count, run.first_sequence)
        assert len(block) == run.count
        for i in range(run.count):
            number = int.from_bytes(block.data[int(block.starts[i]) :][:4].tobytes(), "big")
            assert number == run.first_sequence + i
            numbers.append(number)
    return numbers


def _line(report: Report, **options: Any) -> Line:
    return Line(report, session=SESSION, hold_ns=HOLD_NS, **options)


def _datagrams(count: int, size: int = 20) -> list[bytes]:
    return list(packets(SESSION, _frames(count), 1, size))


def test_packets_when_parsed_then_all_messages_in_order_and_none_too_large() -> None:
    report = Report()
    line = _line(report)
    sent = _datagrams(100, 64)
    assert max(map(len, sent)) <= HEADER.size + 64
    runs = [run for datagram in sent for run in line.receive(datagram, 0)]
    assert _numbers(runs) == list(range(1, 101))
    assert not report.counts
    assert [(run.first_sequence, run.count) for run in joined(runs)] == [(1, 100)]


def test_line_when_a_packet_is_lost_then_counted_reported_and_passed_after_the_hold() -> None:
    report = Report()
    line = _line(report)
    first, lost, third, fourth = _datagrams(12)
    assert _numbers(line.receive(first, 0)) == [1, 2, 3]
    assert line.receive(third, 10) == []
    assert line.missing == (4, 3)
    assert line.expire(10 + HOLD_NS - 1) == []
    assert _numbers(line.receive(fourth, 10 + HOLD_NS)) == [7, 8, 9, 10, 11, 12]
    assert report.counts == {AnomalyKind.SEQUENCE_GAP: 3}
    assert "messages 4 to 6" in str(report.examples[0])
    assert _numbers(line.receive(lost, 20 + HOLD_NS)) == []
    assert report.counts[AnomalyKind.DUPLICATE] == 3


def test_line_when_packets_overtake_each_other_then_nothing_is_lost() -> None:
    report = Report()
    line = _line(report)
    first, second, third, fourth = _datagrams(12)
    runs = [run for datagram in (second, first, fourth, third) for run in line.receive(datagram, 0)]
    assert _numbers(runs) == list(range(1, 13))
    assert not report.counts


def test_line_when_two_redundant_lines_feed_it_then_each_message_once() -> None:
    report = Report()
    line = _line(report)
    a, b = _datagrams(30), _datagrams(30, 33)
    del a[2], b[4]
    runs = [run for pair in zip(a, b, strict=False) for datagram in pair for run in line.receive(datagram, 0)]
    runs += [run for datagram in a[len(b) :] for run in line.receive(datagram, 0)]
    assert _numbers(runs) == list(range(1, 31))
    assert AnomalyKind.SEQUENCE_GAP not in report.counts
    assert report.counts[AnomalyKind.DUPLICATE] > 0


def test_line_when_a_heartbeat_is_ahead_then_the_loss_at_the_end_shows() -> None:
    report = Report()
    line = _line(report)
    first, _ = _datagrams(6)
    line.receive(first, 0)
    line.receive(heartbeat_packet(SESSION, 7), 1)
    assert line.expire(1 + HOLD_NS) == []
    assert report.counts == {AnomalyKind.SEQUENCE_GAP: 3}
    assert line.next_sequence == 7


def test_line_when_the_session_ends_then_ended_after_everything_before() -> None:
    report = Report()
    line = _line(report)
    first, second = _datagrams(6)
    line.receive(first, 0)
    line.receive(end_packet(SESSION, 7), 0)
    assert not line.ended
    assert _numbers(line.receive(second, 0)) == [4, 5, 6]
    assert line.ended
    assert not report.counts


def test_line_when_its_session_has_ended_and_another_begins_then_from_its_first_message() -> None:
    report = Report()
    line = _line(report)
    first, second = _datagrams(6)
    line.receive(first, 0)
    line.receive(end_packet(SESSION, 4), 0)
    other = list(packets("S2", _frames(4), 1, 20))
    runs = [run for datagram in other for run in line.receive(datagram, 0)]
    assert _numbers(runs) == [1, 2, 3, 4]
    assert {run.session for run in runs} == {"S2"}
    assert line.receive(second, 0) == []
    assert line.session == "S2"


def test_line_when_resumed_then_what_was_missed_meanwhile_is_a_gap() -> None:
    report = Report()
    line = _line(report, next_sequence=4)
    _, _, third, _ = _datagrams(12)
    runs = line.receive(third, 0) + line.expire(HOLD_NS)
    assert _numbers(runs) == [7, 8, 9]
    assert report.counts == {AnomalyKind.SEQUENCE_GAP: 3}


def test_packet_when_cut_then_whole_messages_are_used_and_the_rest_is_a_gap() -> None:
    report = Report()
    line = _line(report)
    first, second = _datagrams(6)
    assert _numbers(line.receive(first[:-1], 0)) == [1, 2]
    line.receive(second, 0)
    assert _numbers(line.expire(HOLD_NS)) == [4, 5, 6]
    assert report.counts == {AnomalyKind.MALFORMED_PACKET: 1, AnomalyKind.SEQUENCE_GAP: 1}


def test_packet_when_shorter_than_its_header_then_counted() -> None:
    report = Report()
    assert parse_packet(b"short", report) is None
    assert report.counts == {AnomalyKind.MALFORMED_PACKET: 1}


def test_empty_message_when_in_a_packet_then_it_has_a_sequence_and_is_counted() -> None:
    report = Report()
    ticks = Decoder(0, InstrumentRegistry(), report).decode(packet_block(b"\0\0\0\0", 2, 5))
    assert len(ticks) == 0
    assert report.counts == {AnomalyKind.UNKNOWN_TYPE: 2}
    assert [anomaly.sequence for anomaly in report.examples] == [5, 6]


def test_request_when_packed_then_session_first_and_count() -> None:
    assert HEADER.unpack(request_packet("S1", 7, 3)) == (b"S1        ", 7, 3)
    assert HEADER.unpack(request_packet("S1", 7, 1_000_000))[2] == 0xFFFE


@st.composite
def _deliveries(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """A day's packets with some lost, some repeated, some moved."""
    count = draw(st.integers(1, 60))
    sent = _datagrams(count, draw(st.integers(8, 40)))
    kept = [datagram for datagram in sent for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2])))]
    for at in draw(st.lists(st.integers(0, max(0, len(kept) - 2)), max_size=8)):
        kept[at : at + 2] = kept[at : at + 2][::-1]
    return count, kept


@given(_deliveries(), st.integers(1, 8), st.integers(0, 400))
def test_line_when_packets_are_lost_repeated_or_moved_then_each_message_once_or_counted(
    deliveries: tuple[int, list[bytes]], held_max: int, step_ns: int
) -> None:
    count, received = deliveries
    report = Report()
    line = _line(report, held_packets_max=held_max)
    runs = [run for i, datagram in enumerate(received) for run in line.receive(datagram, i * step_ns)]
    runs += line.receive(end_packet(SESSION, count + 1), len(received) * step_ns)
    runs += line.expire(len(received) * step_ns + HOLD_NS)
    numbers = _numbers(runs)
    assert numbers == sorted(set(numbers))
    assert len(numbers) + report.counts[AnomalyKind.SEQUENCE_GAP] == count
    carried = sum(HEADER.unpack_from(datagram)[2] for datagram in received)
    assert len(numbers) + report.counts[AnomalyKind.DUPLICATE] == carried
    assert line.ended


# --- sockets ------------------------------------------------------------------------------------------------------


async def _received(group: str) -> list[int]:
    sent = _datagrams(3_000, 60)
    queue = await open_line("127.0.0.1", 0, group=group, datagrams_max=10_000, buffer_bytes=1 << 20)
    report = Report()
    line = _line(report)
    runs: list[Run] = []
    try:
        target = group or "127.0.0.1"
        sending = asyncio.create_task(
            send_packets(
                [*sent, end_packet(SESSION, 3_001)], target, queue.port, packets_per_s=50_000, source="127.0.0.1"
            )
        )
        async with asyncio.timeout(20):
            while not line.ended:
                await queue.wait(0.5)
                runs += [run for datagram in queue.take() for run in line.receive(datagram, 0)]
            await sending
    finally:
        queue.close()
    assert queue.dropped == 0
    assert not report.counts
    return _numbers(runs)


async def test_udp_when_unicast_then_every_message_arrives() -> None:
    assert await _received("") == list(range(1, 3_001))


async def test_udp_when_multicast_then_every_message_arrives() -> None:
    assert await _received("239.255.71.83") == list(range(1, 3_001))


async def test_udp_when_the_queue_is_full_then_the_newest_are_dropped_and_the_line_sees_a_gap() -> None:
    sent = _datagrams(30)
    queue = await open_line("127.0.0.1", 0, group="", datagrams_max=4, buffer_bytes=1 << 20)
    report = Report()
    line = _line(report)
    try:
        await send_packets(sent, "127.0.0.1", queue.port, packets_per_s=100_000)
        async with asyncio.timeout(10):
            while queue.dropped < len(sent) - 4:
                await asyncio.sleep(0)
        taken = queue.take()
        assert taken == sent[:4]
        await send_packets([heartbeat_packet(SESSION, 31)], "127.0.0.1", queue.port, packets_per_s=1_000)
        await queue.wait(5)
        runs = [run for datagram in (*taken, *queue.take()) for run in line.receive(datagram, 0)]
        runs += line.expire(HOLD_NS)
    finally:
        queue.close()
    assert _numbers(runs) == list(range(1, 13))
    assert report.counts == {AnomalyKind.SEQUENCE_GAP: 18}


def test_frames_when_of_itch_then_packets_carry_them_unchanged(
    message: Callable[..., bytes], framed: Callable[..., bytes]
) -> None:
    stream = framed([message(TickKind.ADD) for _ in range(100)])
    carried = [packet.payload for d in packets("S", stream, 1) if (packet := parse_packet(d, Report()))]
    assert b"".join(carried) == stream
