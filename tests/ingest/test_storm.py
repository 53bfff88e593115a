"""A hostile sender beside a good line, on the same port: 50,000 datagrams a second, and the good line loses nothing."""

import asyncio
import subprocess
import sys
from datetime import date
from typing import Any

import pytest
from ingest.domain.anomalies import AnomalyKind
from ingest.settings import FeedSettings, IngestSettings, UdpSettings

from tests.ingest.line_sender import end_packet, packets, send_packets

SESSION = "20240102A"
RATE_PER_S, SECONDS = 50_000, 5
HOSTILE = """
import random, socket, struct, sys, time
port, rate, seconds, session = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode().ljust(10)
rnd = random.Random(7)
def packet(name, sequence, count, body=b""):
    return name + struct.pack(">QH", sequence, count) + body
kinds = [
    lambda: rnd.randbytes(rnd.randrange(80)),
    lambda: packet(b"TESTSESS01", rnd.getrandbits(40), 0),
    lambda: packet(b"TESTSESS02", 1, 1, b"\\0\\x0c" + b"S" + bytes(10) + b"O"),
    lambda: packet(session, rnd.getrandbits(63), 1, b"\\0\\x0c" + b"S" + bytes(10) + b"O"),
    lambda: packet(session, 1, rnd.getrandbits(16) or 1, rnd.randbytes(40)),
    lambda: packet(rnd.randbytes(10), 1, 0xFFFF),
]
datagrams = [rnd.choice(kinds)() for _ in range(20_000)]
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(("127.0.0.1", port))
sent, began = 0, time.monotonic()
print("sending", flush=True)
total = int(rate * seconds)
while sent < total:
    due = min(total, int((time.monotonic() - began) * rate), sent + 1_000)  # a starved sender makes no burst of it
    while sent < due:
        sender.send(datagrams[sent % len(datagrams)])
        sent += 1
    time.sleep(0.0005)
print(sent, time.monotonic() - began, flush=True)
"""

pytestmark = pytest.mark.slow


async def test_line_when_a_storm_of_hostile_datagrams_arrives_then_the_good_line_loses_nothing(
    make_fleet: Any, stream: bytes, expected: Any
) -> None:
    fleet = make_fleet(real_clock=True)
    feed = fleet.feed(
        IngestSettings(
            feed=FeedSettings(kind="udp", date=date(2024, 1, 2), linger=False, udp=UdpSettings(session=SESSION))
        )
    )
    good = list(packets(SESSION, stream, 1, 300))
    async with asyncio.timeout(120):
        life = asyncio.create_task(fleet.run(feed))
        while feed.queue is None:
            await asyncio.sleep(0.001)
        port = feed.queue.port
        hostile = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOSTILE, str(port), str(RATE_PER_S), str(SECONDS), SESSION, stdout=subprocess.PIPE
        )
        assert hostile.stdout is not None
        await hostile.stdout.readline()
        await send_packets(good, "127.0.0.1", port, packets_per_s=len(good) // SECONDS + 1)
        sent, took_s = (float(word) for word in (await hostile.stdout.readline()).split())
        await hostile.wait()
        dropped = feed.queue.dropped
        await send_packets([end_packet(SESSION, len(expected))] * 3, "127.0.0.1", port, packets_per_s=1_000)
        await life
    assert sent == RATE_PER_S * SECONDS
    assert dropped == 0
    assert feed.report.counts[AnomalyKind.STRAY_PACKET] > sent // 4
    assert AnomalyKind.SEQUENCE_GAP not in feed.report.counts
    fleet.assert_committed_once(expected)
    print(f"{sent / took_s:,.0f} hostile datagrams a second beside {len(good)} good ones: {feed.report.counts}")
