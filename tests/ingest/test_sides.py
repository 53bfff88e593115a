"""Sides A and B of a line over two sockets: what either delivers is no gap, and each answers for its own."""

import asyncio
import socket
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind
from ingest.domain.packet import Packet
from ingest.domain.sides import GAPS_MAX, Side, silent_sides
from ingest.metrics import SIDE_LOST, SIDE_MESSAGES
from ingest.settings import FeedSettings, IngestSettings, UdpSettings
from prometheus_client import REGISTRY
from pydantic import ValidationError

from tests.ingest.line_sender import end_packet, heartbeat_packet, packets, send_packets

OWN = "DAY1"
HERE = ("127.0.0.1", "127.0.0.1")
GROUPS = ("239.255.77.1", "239.255.77.2")


def line_settings(**udp: Any) -> IngestSettings:
    return IngestSettings(feed=FeedSettings(kind="udp", date=date(2024, 1, 2), linger=False, udp=UdpSettings(**udp)))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


async def send_both(
    feed: Any, day: Sequence[bytes], lost: tuple[set[int], set[int]], hosts: tuple[str, str], ports: Sequence[int]
) -> None:
    """Each packet on both sides, but for those that a side loses, once the feed listens."""
    async with asyncio.timeout(10):
        while feed.queue is None:
            await asyncio.sleep(0.001)
    source = "127.0.0.1" if hosts[0] in GROUPS else ""
    for at, packet in enumerate(day):
        for host, port, missing in zip(hosts, ports, lost, strict=True):
            if at not in missing:
                await send_packets([packet], host, port, packets_per_s=5_000, source=source)
        await asyncio.sleep(0)


def count(packet: bytes) -> int:
    return packet[18] << 8 | packet[19]


@pytest.mark.parametrize("hosts", [HERE, ("127.0.0.1", "127.0.0.2"), GROUPS], ids=["ports", "addresses", "groups"])
async def test_sides_when_each_loses_other_packets_then_the_day_is_whole_and_each_side_says_what_it_lost(
    make_fleet: Any, stream: bytes, expected: Any, hosts: tuple[str, str]
) -> None:
    ports = free_port(), free_port()
    group = {"group": hosts[0]} if hosts == GROUPS else {}
    settings = line_settings(port=ports[0], b=f"{hosts[1]}:{ports[1]}", **group)
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(settings)
    day, end = list(packets(OWN, stream, 1)), end_packet(OWN, len(expected))
    lost = set(range(1, len(day), 3)), set(range(2, len(day), 3))
    try:
        async with asyncio.timeout(60):
            life = asyncio.create_task(fleet.run(feed))
            await send_both(feed, [*day, end], lost, hosts, ports)
            await life
    except OSError as error:
        pytest.skip(f"this machine has no multicast on loopback: {error}")
    fleet.assert_committed_once(expected)
    assert AnomalyKind.SEQUENCE_GAP not in feed.report.counts
    ready, detail = feed.ready()
    assert ready
    for name, missing in zip(("A", "B"), lost, strict=True):
        side = detail["sides"][name]
        assert side["lost"] == sum(count(day[at]) for at in missing)
        assert side["messages"] == sum(map(count, day)) - side["lost"]
        assert SIDE_LOST.labels(name)._value.get() == side["lost"]
        assert SIDE_MESSAGES.labels(name)._value.get() == side["messages"]


async def test_sides_when_both_have_sent_much_before_anything_is_read_then_nothing_is_given_up(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    ports = free_port(), free_port()
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings(port=ports[0], b=f"127.0.0.1:{ports[1]}"))
    day = [*packets(OWN, stream, 1, payload_max=200), end_packet(OWN, len(expected))]
    assert len(day) > 300  # far more than a line holds for a gap
    async with asyncio.timeout(60):
        life = asyncio.create_task(fleet.run(feed))
        while feed.queue is None:
            await asyncio.sleep(0.001)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for begin in range(0, len(day), 200):  # without a pause in which the receiver could run
                for side, port in enumerate(ports):
                    for at, packet in enumerate(day[begin : begin + 200]):
                        if at % 5 != side:
                            sender.sendto(packet, ("127.0.0.1", port))
                await asyncio.sleep(0.05)
            sender.sendto(day[-1], ("127.0.0.1", ports[0]))
        await life
    fleet.assert_committed_once(expected)
    assert AnomalyKind.SEQUENCE_GAP not in feed.report.counts


async def test_sides_when_one_is_dead_then_the_line_is_ready_and_says_which(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    ports = free_port(), free_port()
    settings = line_settings(port=ports[0], b=f"127.0.0.1:{ports[1]}", silent_ms=300)
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(settings)
    day, end = list(packets(OWN, stream, 1)), end_packet(OWN, len(expected))
    half, dead = len(day) // 2, (set(range(len(day))), set[int]())
    async with asyncio.timeout(60):
        life = asyncio.create_task(fleet.run(feed))
        await send_both(feed, day[:half], dead, HERE, ports)
        async with asyncio.timeout(10):
            while (sides := feed.ready()[1]["sides"])["B"]["messages"] < sum(map(count, day[:half])):
                await asyncio.sleep(0.01)
        assert feed.ready()[0]
        assert (sides["A"]["messages"], sides["B"]["messages"]) == (0, sum(map(count, day[:half])))
        name = "tidemark_ingest_side_quiet_seconds"
        quiet_s = [REGISTRY.get_sample_value(name, {"side": side}) or 0.0 for side in "AB"]
        assert quiet_s[0] > quiet_s[1] > 0
        await send_both(feed, [*day[half:], end], dead, HERE, ports)
        await life
    fleet.assert_committed_once(expected)


def is_silent(side: str) -> bool:
    return REGISTRY.get_sample_value("tidemark_ingest_side_silent", {"side": side}) == 1


async def test_side_when_it_falls_silent_while_the_other_goes_on_then_it_alarms_and_the_line_stays_ready(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    ports = free_port(), free_port()
    settings = line_settings(port=ports[0], b=f"127.0.0.1:{ports[1]}", silent_ms=1_500)
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(settings)
    day, end = list(packets(OWN, stream, 1)), end_packet(OWN, len(expected))
    everything = set(range(len(day)))

    async def until(warning: str, beating: Sequence[int]) -> None:
        """Until health and metrics say so. Sides that beat say that they are there."""
        async with asyncio.timeout(60):
            while feed.ready()[1].get("warning", "")[:6] != warning or [is_silent(name) for name in "AB"] != [
                warning == f"side {name}" for name in "AB"
            ]:
                for side in beating:
                    await send_packets([heartbeat_packet(OWN, 1)], HERE[side], ports[side], packets_per_s=5_000)
                await asyncio.sleep(0.02)

    async with asyncio.timeout(150):
        life = asyncio.create_task(fleet.run(feed))
        await send_both(feed, day[:2], (set(), set()), HERE, ports)
        await until("", (0, 1))
        await until("side A", (1,))
        await send_both(feed, day[2:4], (everything, set()), HERE, ports)
        async with asyncio.timeout(60):
            while not (feed.ready()[0] and feed.silent_sides() == ("A",)):
                await asyncio.sleep(0.01)
        await until("", (0, 1))
        await until("side B", (0,))
        await send_both(feed, [*day[4:], end], (set(), set()), HERE, ports)
        await life
    fleet.assert_committed_once(expected)
    assert feed.silent_sides() == ()


@pytest.mark.parametrize(
    ("quiet_s", "silent"),
    [((0.0, 0.0), ()), ((3.1, 0.0), ("A",)), ((0.0, 9.0), ("B",)), ((3.1, 9.0), ()), ((3.0, 0.0), ())],
)
def test_sides_when_all_are_silent_then_none_is_by_itself(
    quiet_s: tuple[float, float], silent: tuple[str, ...]
) -> None:
    assert silent_sides(dict(zip("AB", quiet_s, strict=True)), 3.0) == silent


async def test_sides_when_a_hostile_datagram_is_on_one_then_it_counts_for_neither(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    ports = free_port(), free_port()
    settings = line_settings(port=ports[0], b=f"127.0.0.1:{ports[1]}")
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(settings)
    day, end = list(packets(OWN, stream, 1)), end_packet(OWN, len(expected))
    wild = [day[0][:10] + (1 << 62).to_bytes(8, "big") + day[0][18:], b"TEST".ljust(10) + bytes(10), b"\xff" * 7]
    sent = [*day[:10], *wild, *day[10:], end]
    good = {at for at, packet in enumerate(sent) if packet not in wild}
    async with asyncio.timeout(60):
        life = asyncio.create_task(fleet.run(feed))
        await send_both(feed, sent, (set(), good), HERE, ports)
        await life
    fleet.assert_committed_once(expected)
    sides = feed.ready()[1]["sides"]
    assert (sides["A"]["lost"], sides["B"]["lost"], sides["B"]["messages"]) == (0, 0, 0)


@pytest.mark.parametrize("place", ["10.0.0.1", "233.54.12.111", "::1:26400"])
def test_side_when_its_address_cannot_be_meant_then_the_settings_say_so(place: str) -> None:
    with pytest.raises(ValidationError, match=r"has no port|stands in brackets"):
        line_settings(port=26_400, b=place)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)), max_size=60))
def test_side_when_packets_come_in_any_order_then_lost_is_what_never_came(arrived: list[tuple[int, int]]) -> None:
    side = Side("A")
    came: set[int] = set()
    for first, size in arrived:
        side.receive(Packet(OWN, first, size, b""), 0)
        came |= set(range(first, first + size))
    known = max((first + size for first, size in arrived), default=1)
    assert side.lost == len(set(range(1, known)) - came)
    assert side.messages == sum(size for _, size in arrived)


def test_side_when_gaps_are_many_then_what_is_kept_of_them_is_bounded() -> None:
    side = Side("A")
    for number in range(2, 4 * GAPS_MAX, 2):
        side.receive(Packet(OWN, number, 1, b""), 0)
    assert len(side._missing) == GAPS_MAX
    assert side.lost == 2 * GAPS_MAX - 1
