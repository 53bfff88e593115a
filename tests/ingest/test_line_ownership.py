"""Ownership of a line: packets of other sessions and wild sequence numbers, on a line and through real sockets."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.framing import packet_block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.moldudp64 import HEADER, SEQUENCE_MAX, Line, Run, joined
from ingest.domain.strays import Ownership
from ingest.metrics import ANOMALIES
from ingest.settings import FeedSettings, IngestSettings, UdpSettings

from tests.ingest.line_sender import end_packet, heartbeat_packet, packets, send_packets

MS = 1_000_000
OWN, OTHER = "20240603A", "TESTSESS01"
RULES = Ownership(agreeing_packets=3, silent_ns=3_000 * MS, gap_messages_max=1_000)


def frames(count: int, first: int = 1) -> bytes:
    return b"".join(b"\0\x08" + number.to_bytes(8, "big") for number in range(first, first + count))


def sent(session: str, first: int, count: int = 1) -> list[bytes]:
    """Packets of one message each."""
    return list(packets(session, frames(count, first), first, 10))


class Listener:
    """A line with a clock of the test's own: a millisecond a packet."""

    def __init__(self, **options: Any) -> None:
        self.report = Report()
        self.line = Line(self.report, **({"ownership": RULES} | options))
        self.now_ns = 0
        self.got: list[tuple[str, int]] = []

    def hear(self, *datagrams: bytes, each_ms: int = 1) -> None:
        for datagram in datagrams:
            self._keep(self.line.receive(datagram, self.now_ns))
            self.now_ns += each_ms * MS

    def wait(self, ms: int) -> None:
        self.now_ns += ms * MS
        self._keep(self.line.expire(self.now_ns))

    def _keep(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self.got += [(run.session, run.first_sequence + i) for i in range(run.count)]

    def numbers(self, session: str = OWN) -> list[int]:
        return [number for of, number in self.got if of == session]


@pytest.fixture
def listener() -> Listener:
    listener = Listener()
    listener.hear(*sent(OWN, 1, 10))
    return listener


STRAYS = {
    "heartbeat": heartbeat_packet(OTHER, 1),
    "data": sent(OTHER, 1)[0],
    "end": end_packet(OTHER, 1),
    "end, ahead": end_packet(OTHER, 1_000_000),
    "own, far ahead": heartbeat_packet(OWN, 1_000_000),
    "own, end far ahead": end_packet(OWN, 1_000_000),
    "own, 2^63": HEADER.pack(OWN.encode().ljust(10), 1 << 63, 0),
    "own, 2^64 - 1 with data": HEADER.pack(OWN.encode().ljust(10), (1 << 64) - 1, 2) + frames(2),
    "no letters": HEADER.pack(b"\xff\xfe\0\0\0\0\0\0\0\0", 1, 1) + frames(1),
    "blank": HEADER.pack(b" " * 10, 1, 1) + frames(1),
}


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
@pytest.mark.parametrize("times", [1, 50])
def test_stray_when_on_a_live_line_then_the_session_goes_on_and_it_is_counted(
    listener: Listener, stray: bytes, times: int
) -> None:
    for number in range(11, 11 + times):
        listener.hear(stray, *sent(OWN, number))
    listener.hear(end_packet(OWN, 11 + times))
    assert listener.numbers() == list(range(1, 11 + times))
    assert listener.line.ended
    assert listener.report.counts == {AnomalyKind.STRAY_PACKET: times}


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
def test_stray_when_first_on_a_fresh_line_then_the_day_is_received_whole(stray: bytes) -> None:
    listener = Listener()
    listener.hear(stray, *sent(OWN, 1, 20), end_packet(OWN, 21))
    assert listener.numbers() == list(range(1, 21))
    assert listener.line.ended


def test_other_session_when_the_own_one_still_beats_then_never_followed(listener: Listener) -> None:
    for number in range(20):
        listener.hear(*sent(OTHER, 1 + number * 10, 10))
        listener.wait(900)
        listener.hear(heartbeat_packet(OWN, 11))
    assert listener.line.session == OWN
    assert listener.numbers(OTHER) == []


def test_other_session_when_the_own_one_is_dead_then_followed_from_its_first_message(listener: Listener) -> None:
    listener.hear(*sent(OTHER, 1, 100), each_ms=20)
    assert listener.line.session == OWN
    listener.hear(*sent(OTHER, 101, 100), each_ms=20)
    assert listener.line.session == OTHER
    assert listener.numbers(OTHER) == list(range(1, 201))
    assert AnomalyKind.SEQUENCE_GAP not in listener.report.counts


def test_other_session_when_it_stops_speaking_then_followed_when_the_silence_is_long_enough(listener: Listener) -> None:
    listener.hear(*sent(OTHER, 1, 3))
    listener.wait(2_000)
    assert listener.line.session == OWN
    listener.wait(1_100)
    assert listener.numbers(OTHER) == [1, 2, 3]


def test_own_session_when_it_comes_back_after_another_was_followed_then_goes_on_where_it_was(
    listener: Listener,
) -> None:
    listener.hear(*sent(OTHER, 1, 5), each_ms=1_000)
    assert listener.line.session == OTHER
    listener.wait(4_000)
    listener.hear(*sent(OWN, 8, 10))
    listener.wait(4_000)
    assert listener.numbers() == list(range(1, 18))
    assert listener.report.counts[AnomalyKind.SEQUENCE_GAP] == 0


def test_session_when_named_by_the_operator_then_no_other_is_followed() -> None:
    listener = Listener(session=OWN, ownership=Ownership(pinned=True))
    listener.hear(*sent(OTHER, 1, 50), each_ms=1_000)
    assert listener.got == []
    listener.hear(*sent(OWN, 1, 5))
    assert listener.numbers() == [1, 2, 3, 4, 5]


def test_own_session_when_it_jumps_far_ahead_then_followed_once_enough_packets_agree(listener: Listener) -> None:
    listener.hear(*sent(OWN, 5_000_001, 2))
    assert listener.numbers() == list(range(1, 11))
    listener.hear(*sent(OWN, 5_000_003, 1))
    assert listener.numbers()[10:] == [5_000_001, 5_000_002, 5_000_003]
    assert listener.report.counts[AnomalyKind.SEQUENCE_GAP] == 4_999_990


def test_wild_numbers_when_they_do_not_agree_then_never_followed(listener: Listener) -> None:
    listener.hear(*(heartbeat_packet(OWN, 10**6 * n) for n in range(2, 200)))
    assert listener.line.next_sequence == 11


def test_fresh_line_when_only_the_end_is_heard_then_over_once_it_was_repeated() -> None:
    listener = Listener()
    listener.hear(end_packet(OWN, 5_001), end_packet(OWN, 5_001))
    assert not listener.line.ended
    listener.hear(end_packet(OWN, 5_001))
    assert listener.line.ended
    assert listener.report.counts[AnomalyKind.SEQUENCE_GAP] == 5_000


def test_sender_when_it_begins_again_under_the_same_name_then_nothing_twice_and_nothing_useful(
    listener: Listener,
) -> None:
    useful_ns = listener.line.useful_ns
    listener.hear(*sent(OWN, 1, 9), each_ms=1_000)
    assert listener.numbers() == list(range(1, 11))
    assert listener.line.useful_ns == useful_ns
    listener.hear(*sent(OWN, 10, 2), each_ms=1_000)
    assert listener.line.useful_ns != useful_ns


def test_strays_when_they_are_many_then_what_is_kept_is_bounded(listener: Listener) -> None:
    listener.line = Line(listener.report, session=OWN, ownership=Ownership(kept_bytes_max=10_000))
    listener.hear(*sent(OTHER, 1, 2_000), each_ms=0)
    assert len(listener.line._strays.packets) < 40
    listener.wait(5_000)
    assert listener.numbers(OTHER) == list(range(1, len(listener.numbers(OTHER)) + 1))


@st.composite
def _datagrams(draw: st.DrawFn) -> list[bytes]:
    """Anything: bytes, and packets of three sessions with any sequence number and any count."""
    name = st.sampled_from([OWN.encode(), OTHER.encode(), b"", b"\xff\0\x80"]).map(lambda text: text.ljust(10)[:10])
    sequence = st.one_of(st.integers(0, 40), st.integers(0, (1 << 64) - 1), st.sampled_from([(1 << 63) - 1, 1 << 63]))
    count = st.one_of(st.integers(0, 3), st.sampled_from([0xFFFF, 0xFFFE]))
    body = st.one_of(st.binary(max_size=40), st.integers(0, 4).map(frames), st.just(bytes(4_000)))
    packet = st.builds(lambda n, s, c, b: HEADER.pack(n, s, c) + b, name, sequence, count, body)
    return draw(st.lists(st.one_of(st.binary(max_size=30), packet), max_size=60))


@given(_datagrams(), st.integers(0, 2_000), st.integers(1, 4))
@example([HEADER.pack(OWN.encode().ljust(10), (1 << 64) - 2, 1) + frames(1)] * 9, 1, 1)
def test_line_when_anything_arrives_then_messages_come_in_order_once_and_can_be_decoded(
    datagrams: list[bytes], step_ms: int, agreeing: int
) -> None:
    report = Report()
    line = Line(report, held_packets_max=4, ownership=Ownership(agreeing_packets=agreeing, kept_bytes_max=2_000))
    decoder = Decoder(0, InstrumentRegistry(), report)
    newest: dict[str, int] = {}
    returned_from: list[str] = []
    for at, datagram in enumerate(datagrams):
        for run in joined(line.receive(datagram, at * step_ms * MS)):
            assert 0 <= run.first_sequence <= run.first_sequence + run.count <= SEQUENCE_MAX
            returned_from = [*returned_from, run.session] if [run.session] != returned_from[-1:] else returned_from
            if len(returned_from) < 3:  # the line remembers one session beside its own
                assert run.first_sequence >= newest.get(run.session, 0)
            newest[run.session] = run.first_sequence + run.count
            block = packet_block(run.payload, run.count, run.first_sequence)
            assert len(block) == run.count
            decoder.decode(block)
        assert len(line._held) <= 4
        assert len(line._strays.packets) <= 2_000 // 256


# --- real sockets -------------------------------------------------------------------------------------------------


def line_settings(**udp: Any) -> IngestSettings:
    return IngestSettings(feed=FeedSettings(kind="udp", date=date(2024, 1, 2), linger=False, udp=UdpSettings(**udp)))


async def _open(feed: Any) -> int:
    async with asyncio.timeout(10):
        while feed.queue is None:
            await asyncio.sleep(0.001)
    return int(feed.queue.port)


async def _ready(feed: Any) -> None:
    async with asyncio.timeout(10):
        while not feed.ready()[0]:
            await asyncio.sleep(0.001)


async def _send(port: int, datagrams: Sequence[bytes]) -> None:
    await send_packets(datagrams, "127.0.0.1", port, packets_per_s=20_000)


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
async def test_feed_when_a_stray_arrives_amid_the_day_then_every_message_is_committed(
    make_fleet: Any, stream: bytes, expected: Any, stray: bytes
) -> None:
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings())
    day = list(packets(OWN, stream, 1))
    datagrams = [*day[:5], stray, *day[5:20], stray, stray, *day[20:], end_packet(OWN, len(expected))]
    counted = ANOMALIES.labels(AnomalyKind.STRAY_PACKET.value)
    before = counted._value.get()
    async with asyncio.timeout(30):
        life = asyncio.create_task(fleet.run(feed))
        await _send(await _open(feed), datagrams)
        await life
    fleet.assert_committed_once(expected)
    assert feed.report.counts == {AnomalyKind.STRAY_PACKET: 3}
    assert feed.ready()[0]
    assert counted._value.get() == before + 3


async def test_feed_when_nothing_useful_arrives_then_not_ready_until_something_does(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings(silent_ms=300))
    day = list(packets(OWN, stream, 1))
    async with asyncio.timeout(30):
        life = asyncio.create_task(fleet.run(feed))
        port = await _open(feed)
        await _send(port, day[:10])
        await _ready(feed)
        for _ in range(5):  # neither what was delivered before nor a session's end that is not the own one
            await _send(port, [*day[:10], end_packet(OTHER, 1)])
            await asyncio.sleep(0.1)
        ready, detail = feed.ready()
        assert not ready
        assert "nothing useful" in detail["failure"]
        assert feed.line_quiet_s() > 0.3
        await _send(port, day[10:20])
        await _ready(feed)
        await _send(port, [*day[20:], end_packet(OWN, len(expected))])
        await life
    assert feed.ready()[0]
    fleet.assert_committed_once(expected)


async def test_feed_when_its_line_is_closed_and_not_open_again_then_not_ready_until_something_arrives(
    make_fleet: Any, stream: bytes
) -> None:
    """A source whose commit failed is opened anew, which may take long where the broker is slow."""
    feed = make_fleet(real_clock=True).feed(line_settings(silent_ms=200))
    day = list(packets(OWN, stream, 1))
    for _ in range(2):
        async with asyncio.timeout(30), aclosing(feed.run(None)) as batches:
            first = asyncio.create_task(anext(batches))
            await _send(await _open(feed), day[:10])
            await first
            await _ready(feed)
        while feed.ready()[0]:
            await asyncio.sleep(0.01)
        assert "nothing useful" in feed.ready()[1]["failure"]
        assert feed.line_quiet_s() > 0.2


async def test_feed_when_the_sender_dies_and_another_session_begins_then_followed_and_committed(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings(silent_ms=200))
    day = list(packets("DAY2", stream, 1))
    async with asyncio.timeout(30):
        life = asyncio.create_task(fleet.run(feed))
        port = await _open(feed)
        await _send(port, [heartbeat_packet("DAY1", 1)] * 5)
        await asyncio.sleep(0.05)
        await _send(port, day[:20])
        await asyncio.sleep(0.4)
        await _send(port, [*day[20:], end_packet("DAY2", len(expected))])
        await life
    fleet.assert_committed_once(expected)
    assert fleet.position().line == "DAY2"


async def test_feed_when_the_session_is_named_then_only_that_one(make_fleet: Any, stream: bytes, expected: Any) -> None:
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings(session=OWN, silent_ms=10))
    day = list(packets(OWN, stream, 1))
    async with asyncio.timeout(30):
        life = asyncio.create_task(fleet.run(feed))
        port = await _open(feed)
        await _send(port, list(packets(OTHER, stream, 1))[:30])
        await asyncio.sleep(0.1)
        await _send(port, [*day, end_packet(OWN, len(expected))])
        await life
    fleet.assert_committed_once(expected)
