"""A live line joined in the middle of its day: the books of a GLIMPSE snapshot, then the line, and no trade twice."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickKind
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.glimpse import SnapshotStream
from ingest.domain.moldudp64 import Line, split
from ingest.domain.soupbintcp import SoupError, login_request
from ingest.late_join import SnapshotUnavailable, ask_snapshot
from ingest.settings import FeedSettings, GlimpseSettings, IngestSettings, UdpSettings

from tests.ingest.capture_files import mold, soup
from tests.ingest.conftest import Killed, without_beats
from tests.ingest.glimpse_server import best_after, glimpse, glimpse_server
from tests.ingest.line_sender import end_packet, send_packets

SESSION = "SESSION001"
EACH = 20
"""Messages of a packet."""
GAP = AnomalyKind.SEQUENCE_GAP


def line_settings(address: str, session: str = "", **glimpse: Any) -> IngestSettings:
    udp = UdpSettings(session=session, glimpse=GlimpseSettings(address=address, **glimpse))
    return IngestSettings(feed=FeedSettings(kind="udp", date=date(2024, 1, 2), linger=False, id="line", udp=udp))


class LiveDay:
    """A day that is sent packet by packet, and its snapshot as of the packets sent, whether they came or not."""

    def __init__(self, messages: Sequence[bytes], expected: Any) -> None:
        self.messages = messages
        self.expected = expected
        self.packets = [mold(at + 1, list(messages[at : at + EACH])) for at in range(0, len(messages), EACH)]
        self.sent = 0

    @property
    def next_message(self) -> int:
        return min(self.sent * EACH, len(self.messages)) + 1

    def snapshot(self) -> bytes:
        return soup(glimpse(self.messages, self.expected, self.next_message))

    async def send(self, feed: Any, until: int, lost: range = range(0)) -> None:
        """Packets up to number ``until``, but for the ``lost`` ones, once the feed listens; at the end the line's."""
        async with asyncio.timeout(20):
            while feed.queue is None:
                await asyncio.sleep(0.001)
        for number in range(self.sent, until):
            self.sent = number + 1
            if number not in lost:
                await send_packets([self.packets[number]], "127.0.0.1", feed.queue.port, packets_per_s=5_000)
            await asyncio.sleep(0)
        if until == len(self.packets):
            end = end_packet(SESSION, len(self.messages) + 1)
            await send_packets([end], "127.0.0.1", feed.queue.port, packets_per_s=1)


@pytest.fixture
def day(messages: list[bytes], expected: Any) -> LiveDay:
    return LiveDay(messages, expected)


def ticks_of(fleet: Any) -> Any:
    """All partitions' ticks but heartbeats; those of an instrument are in order."""
    return np.concatenate([without_beats(fleet.ticks(number)) for number in range(4)])


def best_of(fleet: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Like ``best_after``; each partition makes the books of its own instruments."""
    prices, sizes = zip(*(best_after(without_beats(fleet.ticks(number))) for number in range(4)), strict=True)
    return np.sum(prices, axis=0).tolist(), np.sum(sizes, axis=0).tolist()


async def is_said(feed: Any, words: str) -> None:
    async with asyncio.timeout(20):
        while words not in str(feed.ready()[1].get("snapshot")):
            await asyncio.sleep(0.01)


async def test_join_when_late_then_the_books_of_who_was_there_and_the_line_from_there_on(
    make_fleet: Any, day: LiveDay
) -> None:
    day.sent = 60
    async with glimpse_server(day.snapshot) as (address, logins), asyncio.timeout(60):
        fleet = make_fleet(real_clock=True)
        feed = fleet.feed(line_settings(address, user="guest", password="secret"))
        life = asyncio.create_task(fleet.run(feed))
        await is_said(feed, "joined before message 1201")
        await day.send(feed, len(day.packets))
        await life
    ticks, expected = ticks_of(fleet), without_beats(day.expected)
    assert logins == [login_request("guest", "secret")]
    assert GAP not in feed.report.counts
    late, wanted = (np.unique(one["sequence"][one["sequence"] > 1_200]) for one in (ticks, expected))
    assert np.array_equal(late, wanted)
    assert set(ticks["sequence"][ticks["sequence"] <= 1_200]) == {1_200}, "as of the message before"
    assert best_of(fleet) == best_after(expected)


async def test_join_when_messages_are_lost_then_the_books_are_whole_again_and_no_trade_comes_twice(
    make_fleet: Any, day: LiveDay
) -> None:
    lost = range(70, 100)
    async with glimpse_server(day.snapshot) as (address, logins), asyncio.timeout(60):
        fleet = make_fleet(real_clock=True)
        feed = fleet.feed(line_settings(address))
        life = asyncio.create_task(fleet.run(feed))
        await is_said(feed, "joined before message 1")
        await day.send(feed, 120, lost)
        async with asyncio.timeout(20):
            while len(logins) < 2:
                await asyncio.sleep(0.01)
        await is_said(feed, "'wanted': False")
        await day.send(feed, len(day.packets))
        await life
    ticks, expected = ticks_of(fleet), without_beats(day.expected)
    assert feed.report.counts[GAP] == len(lost) * EACH, "said once, though the books know of it"
    assert best_of(fleet) == best_after(expected)
    prints = {ord(kind) for kind in "ECPQ"}
    heard = expected[(expected["sequence"] <= lost.start * EACH) | (expected["sequence"] > lost.stop * EACH)]
    counted = [one[np.isin(one["kind"], list(prints))] for one in (ticks, heard)]
    assert sorted(counted[0]["sequence"]) == sorted(counted[1]["sequence"])
    assert (ticks["kind"] == TickKind.BOOK_CLEAR).sum() > 0


@pytest.mark.parametrize("kill", range(3, 60, 7))
async def test_join_when_killed_anywhere_then_the_next_life_joins_anew(
    make_fleet: Any, day: LiveDay, kill: int
) -> None:
    async with glimpse_server(day.snapshot) as (address, _), asyncio.timeout(60):
        fleet = make_fleet([kill], real_clock=True)
        day.sent = 60
        sending: asyncio.Task[None] | None = None
        while True:
            feed = fleet.feed(line_settings(address))
            life = asyncio.create_task(fleet.run(feed))
            sending = asyncio.create_task(day.send(feed, len(day.packets)))
            try:
                await life
                break
            except Killed:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        await sending
    assert best_of(fleet) == best_after(day.expected)


def without_end(day: LiveDay) -> bytes:
    return soup(glimpse(day.messages, day.expected, day.next_message)[:-1])


def cut_off(day: LiveDay) -> bytes:
    return day.snapshot()[:-40]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (without_end, "has no end"),
        (lambda _: b"\x00\x02JA", "login rejected, reason 'A'"),
        (lambda day: day.snapshot().replace(SESSION.encode(), b"YESTERDAY "), "it is of session 'YESTERDAY'"),
        (lambda _: b"HTTP/1.1 200 OK\r\n\r\n", "no SoupBinTCP packet"),
        (lambda day: soup([*day.messages[:20], b"G" + b" " * 20]), "the snapshot ends at message"),
        (cut_off, "no whole snapshot within 0.3 s"),
    ],
    ids=["no end", "rejected", "another session", "no soup", "no number", "silent"],
)
async def test_join_when_there_is_no_snapshot_then_the_line_goes_on_and_it_is_asked_for_again(
    make_fleet: Any, day: LiveDay, answer: Callable[[LiveDay], bytes], reason: str
) -> None:
    answers = [answer, LiveDay.snapshot]
    day.sent = 30

    def next_answer() -> bytes:
        return answers.pop(0)(day) if len(answers) > 1 else answers[0](day)

    async with glimpse_server(next_answer) as (address, logins), asyncio.timeout(60):
        fleet = make_fleet(real_clock=True)
        feed = fleet.feed(line_settings(address, timeout_s=0.3, session=SESSION))
        life = asyncio.create_task(fleet.run(feed))
        await is_said(feed, reason)
        await day.send(feed, 40)
        await is_said(feed, "joined before")
        await day.send(feed, len(day.packets))
        await life
    assert len(logins) == 2
    assert best_of(fleet) == best_after(day.expected)


async def test_snapshot_when_nobody_answers_then_unavailable() -> None:
    with pytest.raises(SnapshotUnavailable, match=r"refused|Connect call failed"):
        await ask_snapshot("127.0.0.1:1", "", "", 1.0)


def test_endpoint_when_it_has_no_port_then_refused() -> None:
    with pytest.raises(ValueError, match="has no port"):
        line_settings("somewhere")


def test_snapshot_when_in_any_pieces_then_the_same(day: LiveDay) -> None:
    day.sent = 50
    whole = day.snapshot()
    for step in (1, 7, 4_096, len(whole)):
        stream, count = SnapshotStream(), 0
        for at in range(0, len(whole), step):
            if not stream.next_message:
                count += sum(map(len, stream.feed(whole[at : at + step])))
        assert (stream.next_message, stream.session) == (1_001, SESSION)
        assert count == len(glimpse(day.messages, day.expected, 1_001)) - 1


def test_snapshot_when_it_ends_without_a_number_then_refused(day: LiveDay) -> None:
    with pytest.raises(SoupError, match="has no end"):
        list(SnapshotStream().feed(without_end(day)))


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5)), max_size=20),
    st.integers(1, 45),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), max_size=20),
    st.booleans(),
)
def test_line_when_joined_anywhere_then_each_message_is_delivered_once_and_in_order(
    earlier: list[tuple[int, int]], first: int, later: list[tuple[int, int]], begun: bool
) -> None:
    """Whatever came before, what is delivered behind the snapshot begins at its message, or behind what was read."""
    line = Line(Report(examples_max=0), session=SESSION, next_sequence=2 if begun else 1, hold_ns=10**18)

    def delivered(datagrams: list[tuple[int, int]]) -> list[Any]:
        packets = [mold(at, [b"%d" % number for number in range(at, at + count)]) for at, count in datagrams]
        return [run for packet in packets for run in line.receive(packet, 0)]

    runs = delivered(earlier)
    read = line.next_sequence
    joined = line.join(SESSION, first)
    assert line.next_sequence >= max(read, first)
    parts = [split(run, first) for run in runs + joined]
    before, after = [part for part, _ in parts if part], [part for _, part in parts if part]
    after += delivered(later)
    numbers = [number for run in before + after for number in range(run.first_sequence, run.first_sequence + run.count)]
    assert numbers == sorted(set(numbers))
    assert all(run.first_sequence + run.count <= first for run in before)
    assert all(run.first_sequence >= first for run in after)
    for run in before + after:
        texts = [b"%d" % number for number in range(run.first_sequence, run.first_sequence + run.count)]
        assert run.payload == b"".join(len(text).to_bytes(2, "big") + text for text in texts)
