"""A day over UDP: what is committed when packets arrive, are lost, or nobody was there to receive them."""

import asyncio
import socket
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from common.contracts.ticks import TickKind
from common.contracts.topics import MD_TICKS
from ingest.addresses import endpoint
from ingest.domain.anomalies import AnomalyKind
from ingest.feed import Feed
from ingest.settings import FeedSettings, IngestSettings, UdpSettings
from pydantic import ValidationError

from tests.ingest.line_sender import end_packet, packets, send_packets

DAY = date(2024, 1, 2)
PARTITIONS = range(MD_TICKS.partitions)


def without_beats(ticks: Any) -> Any:
    return ticks[ticks["kind"] != TickKind.HEARTBEAT]


class Sending:
    """Sends datagrams to a feed once it listens."""

    def __init__(self, feed: Feed, datagrams: list[bytes], host: str = "127.0.0.1") -> None:
        self._feed = feed
        self._datagrams = datagrams
        self._host = host

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._send())

    async def __aexit__(self, *_: object) -> None:
        await self._task

    async def _send(self) -> None:
        async with asyncio.timeout(10):
            while self._feed.queue is None:
                await asyncio.sleep(0.001)
        await send_packets(self._datagrams, self._host, self._feed.queue.port, packets_per_s=20_000)


def line_settings(**udp: Any) -> IngestSettings:
    return IngestSettings(feed=FeedSettings(kind="udp", date=DAY, linger=False, udp=UdpSettings(**udp)))


async def test_line_when_the_day_is_sent_then_the_log_equals_the_offline_decode(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings())
    datagrams = [*packets("S1", stream, 1), end_packet("S1", len(expected))]
    async with asyncio.timeout(30), Sending(feed, datagrams):
        await fleet.run(feed)
    fleet.assert_committed_once(expected)
    assert not feed.report.counts
    assert fleet.position().closed
    assert all(fleet.ticks(partition)[-1]["event_ns"] == expected[-1]["event_ns"] for partition in PARTITIONS)


async def test_line_when_the_host_is_ipv6_then_every_message_is_committed(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(line_settings(host="::1"))
    datagrams = [*packets("S1", stream, 1), end_packet("S1", len(expected))]
    async with asyncio.timeout(30), Sending(feed, datagrams, "::1"):
        await fleet.run(feed)
    fleet.assert_committed_once(expected)
    assert not feed.report.counts


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "10.1.2.3"}, "no multicast group"),
        ({"group": "233.54.12.111x"}, "no IP address"),
        ({"request": "10.0.0.1"}, "has no port"),
        ({"request": "host:abc"}, "is no port"),
        ({"request": "::1:17000"}, "stands in brackets"),
        ({"request": "10.0.0.1:70000"}, "is no port"),
    ],
)
def test_line_when_an_address_cannot_be_meant_then_the_settings_say_so(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        line_settings(port=26_400, **options)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.0.0.1:17000", ("10.0.0.1", 17_000)),
        ("[::1]:17000", ("::1", 17_000)),
        ("feed.example:1", ("feed.example", 1)),
    ],
)
def test_endpoint_when_written_as_people_do_then_host_and_port(text: str, meant: tuple[str, int]) -> None:
    assert endpoint(text) == meant


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_line_when_packets_are_lost_then_the_rest_is_committed_and_the_gap_counted(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    fleet = make_fleet(real_clock=True)
    datagrams = list(packets("S1", stream, 1))
    lost = datagrams.pop(len(datagrams) // 2)
    first, count = int.from_bytes(lost[10:18], "big"), int.from_bytes(lost[18:20], "big")
    feed = fleet.feed(line_settings())
    async with asyncio.timeout(30), Sending(feed, [*datagrams, datagrams[3], end_packet("S1", len(expected))]):
        await fleet.run(feed)
    assert feed.report.counts[AnomalyKind.SEQUENCE_GAP] == count
    assert feed.report.counts[AnomalyKind.DUPLICATE] == int.from_bytes(datagrams[3][18:20], "big")
    kept = without_beats(expected)
    kept = kept[(kept["sequence"] < first) | (kept["sequence"] >= first + count)]
    fleet.assert_committed_once(kept)
    ready, detail = feed.ready()
    assert ready
    assert detail["sequence_gap"] == count


async def test_line_when_the_process_dies_then_the_next_one_knows_the_locates_and_reports_what_it_missed(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    fleet = make_fleet(real_clock=True)
    datagrams = list(packets("S1", stream, 1))
    half = len(datagrams) // 2
    first = fleet.feed(line_settings())
    async with asyncio.timeout(30), Sending(first, datagrams[:half]):
        life = asyncio.create_task(fleet.run(first))
        next_sequence = int.from_bytes(datagrams[half][10:18], "big")
        while first.ready()[1]["next_message"] < next_sequence:
            await asyncio.sleep(0.001)
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life
    committed = fleet.position().sequence
    second = fleet.feed(line_settings())
    missed, rest = datagrams[half], datagrams[half + 1 :]
    async with asyncio.timeout(30), Sending(second, [*rest, end_packet("S1", len(expected))]):
        await fleet.run(second)
    resumed = int.from_bytes(missed[10:18], "big") + int.from_bytes(missed[18:20], "big")
    assert second.report.counts == {AnomalyKind.SEQUENCE_GAP: resumed - committed}
    kept = without_beats(expected)
    fleet.assert_committed_once(kept[(kept["sequence"] < committed) | (kept["sequence"] >= resumed)])
