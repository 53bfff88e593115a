"""The alerts of the feed on the real Prometheus: a line that is quiet, has strays, loses packets; time that stands."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.ticks import encode_frame, heartbeat
from common.contracts.topics import MD_EVENTS, MD_TICKS
from ingest.feed import Feed
from ingest.settings import FeedSettings, IngestSettings, UdpSettings
from parts.errors import PartsError
from parts.ports import free_port
from parts.prometheus import Alerts, Prometheus, find_prometheus
from prometheus_client import start_http_server
from signals.domain.venue_silence import SILENCE_NS
from signals.event_stage import handle
from signals.event_tables import TABLES
from signals.stages import MARKET
from signals.stages import handle as handle_ticks
from streams.model.message import Message
from streams.testing.tables import MemoryTables

from tests.ingest.line_sender import heartbeat_packet, packets

RULES = Path(__file__).parents[2] / "compose" / "alerts.yml"
SESSION = "20240102A"


@pytest.fixture
def line_feed() -> Feed:
    async def known() -> list[object]:
        return []

    other = f"127.0.0.1:{free_port()}"
    settings = IngestSettings(
        feed=FeedSettings(kind="udp", date=date(2024, 1, 2), linger=False, udp=UdpSettings(b=other))
    )
    return Feed(settings, known=known)  # type: ignore[arg-type]


@pytest.fixture
async def alerts(tmp_path: Path) -> AsyncIterator[Alerts]:
    """A Prometheus that reads this process, in which the feed runs."""
    try:
        find_prometheus()
    except PartsError as error:
        pytest.skip(str(error))
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1")
    prometheus = Prometheus(tmp_path / "prometheus", {"ingest": f"127.0.0.1:{port}"}, RULES)
    await asyncio.to_thread(prometheus.start)
    found = Alerts(prometheus.address)
    yield found
    await found.close()
    await asyncio.to_thread(prometheus.stop)
    server.shutdown()
    thread.join()


async def test_side_that_falls_silent_while_the_other_goes_on_then_it_rings_and_the_line_stays_ready(
    alerts: Alerts, line_feed: Feed
) -> None:
    async def take() -> None:
        async for _ in line_feed.run(None):
            pass

    async def beat(sides: list[tuple[str, int]]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in itertools.count(1):
                for side in sides:
                    sender.sendto(heartbeat_packet(SESSION, 1), side)
                await asyncio.sleep(0.2)
                assert number < 1_000

    life = asyncio.create_task(take())
    while line_feed.queue is None:
        await asyncio.sleep(0.01)
    first = ("127.0.0.1", line_feed.queue.port)
    host, _, port = line_feed.settings.feed.udp.b.rpartition(":")
    both = [first, (host, int(port))]
    beating = asyncio.create_task(beat(both))
    await alerts.scraped("tidemark_ingest_side_silent")
    beating.cancel()
    beating = asyncio.create_task(beat(both[:1]))
    await alerts.fires("FeedSideSilent", 30, side="B")
    assert line_feed.ready()[0]
    beating.cancel()
    beating = asyncio.create_task(beat(both))
    await alerts.ends("FeedSideSilent")
    for task in (beating, life):
        task.cancel()
    await asyncio.gather(beating, life, return_exceptions=True)


async def test_line_that_is_quiet_has_strays_and_loses_packets_then_each_rings(alerts: Alerts, line_feed: Feed) -> None:
    async def take() -> None:
        async for _ in line_feed.run(None):
            pass

    life = asyncio.create_task(take())
    frames = b"".join(b"\0\x0cS\0\0\0\0" + (34_200 * 10**9 + n).to_bytes(6, "big") + b"O" for n in range(30))
    sent = list(packets(SESSION, frames, 1, 14))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while line_feed.queue is None:
            await asyncio.sleep(0.01)
        address = ("127.0.0.1", line_feed.queue.port)
        for datagram in sent[:10]:
            sender.sendto(datagram, address)
        await alerts.scraped("tidemark_ingest_anomalies_total")
        sender.sendto(heartbeat_packet("ANOTHER", 1), address)
        await alerts.fires("FeedLineQuiet", 20)
        assert not line_feed.ready()[0]
        await alerts.fires("FeedStrays", 20)
        for datagram in sent[12:]:
            sender.sendto(datagram, address)
        await alerts.fires("FeedMessagesLost", 20)
        while "FeedLineQuiet" in await alerts.ringing():
            sender.sendto(heartbeat_packet(SESSION, 31), address)
            await asyncio.sleep(0.5)
        # The last heartbeat may be older than the line's patience by now, so one more is sent and waited for.
        sender.sendto(heartbeat_packet(SESSION, 31), address)
        async with asyncio.timeout(10):
            while not line_feed.ready()[0]:
                await asyncio.sleep(0.01)
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)


async def test_venue_that_falls_silent_while_others_go_on_then_it_rings_until_it_speaks(alerts: Alerts) -> None:
    tables = MemoryTables(TABLES, 3)

    def beats(venue: str, event_ns: int) -> None:
        body = MarketEvent(kind=MarketEventKind.HEARTBEAT, symbol="A", venue=venue, event_ns=event_ns)
        handle(Message(MD_EVENTS, 3, 0, b"A", MD_EVENTS.schema.encode(body), 0), tables, event_ns)

    for venue in ("LEFT", "ALIVE"):
        beats(venue, 1)
    await alerts.scraped("tidemark_signals_venues_left_out")
    beats("ALIVE", 2 + SILENCE_NS)
    await alerts.fires("VenueLeftOut", 30, partition="3")
    beats("LEFT", 3 + SILENCE_NS)
    await alerts.ends("VenueLeftOut")


async def test_partition_whose_feed_stands_still_then_its_lag_rings_until_the_feed_goes_on(alerts: Alerts) -> None:
    tables = MemoryTables([MARKET], 5)

    def beat() -> None:
        now_ns = time.time_ns()
        frame = encode_frame(heartbeat(now_ns), feed="line", ingest_ns=now_ns, session_ns=0)
        handle_ticks(Message(MD_TICKS, 5, 0, b"5", frame, 0), tables, now_ns)

    async def go_on() -> None:
        while True:
            beat()
            await asyncio.sleep(0.2)

    beat()
    await alerts.scraped('tidemark_signals_watermark_lag_seconds{partition="5"} > 0')
    await alerts.fires("WatermarkLag", 60, partition="5")
    life = asyncio.create_task(go_on())
    await alerts.ends("WatermarkLag")
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
