"""A client that does not read is conflated, then dropped, and nobody else notices."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from common.testing.views import ViewWriter
from prometheus_client import REGISTRY
from redis.asyncio import Redis

SYMBOLS = 400
PADDING = "x" * 200
ORDER_REVISIONS = 600
"""19 MB, which is more than sockets, queue and the client's few reads can hold."""
WRITTEN_PER_READ = 150
"""By count and not by the clock: on any machine the client reads as much too slowly."""


def dropped(cause: str) -> float:
    return REGISTRY.get_sample_value("tidemark_push_clients_dropped_total", {"cause": cause}) or 0.0


async def flood(writer: ViewWriter, stop: asyncio.Event) -> int:
    """Changes every symbol again and again; returns the last price."""
    price_e4 = 0
    while not stop.is_set():
        price_e4 += 1
        await writer.write("quote", "0", {f"S{n}": {"last_e4": price_e4, "pad": PADDING} for n in range(SYMBOLS)})
        await asyncio.sleep(0.02)
    return price_e4


def handshake(port: int) -> bytes:
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def text_frame(message: dict[str, Any]) -> bytes:
    """A short masked text frame (RFC 6455 §5.2); the mask is zero, so the payload stands as it is."""
    payload = json.dumps(message).encode()
    assert len(payload) < 126
    return struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload


class Staller:
    """A client with a small receive buffer, which asks for everything and then never reads."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(handshake(port))
        self.socket.recv(64)  # it was answered: what follows is a frame
        self.socket.sendall(text_frame({"op": "subscribe", "topics": ["quote"]}))

    def reads_to(self, end: bytes) -> bool:
        """Reads, at last; whether what was buffered ends so."""
        self.socket.settimeout(10)
        tail = b""
        while not tail.endswith(end):
            chunk = self.socket.recv(65_536)
            if not chunk:
                return False
            tail = (tail + chunk)[-len(end) :]
        return True


@pytest.mark.parametrize("reads_in_the_end", [False, True])
async def test_client_that_never_reads_then_it_is_dropped_and_a_healthy_one_is_unharmed(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter, reads_in_the_end: bool
) -> None:
    push = await start_push(stall_timeout_s=2, drop_grace_s=20 if reads_in_the_end else 0.2)
    await push.until_redis(True)
    healthy = await push.client()
    await healthy.subscribe("quote")
    await healthy.until(lambda: "quote" in healthy.rows)
    staller = await asyncio.to_thread(Staller, push.process.port)
    before, stop = dropped("stalled"), asyncio.Event()
    hub = push.process.service.hub
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(flood(writer, stop))
        await healthy.until(lambda: hub.clients == 2)
        await healthy.until(lambda: hub.clients == 1 and dropped("stalled") == before + 1, timeout_s=60)
        stop.set()
    last = writing.result()
    await healthy.until(lambda: healthy.rows["quote"][f"S{SYMBOLS - 1}"]["last_e4"] == last)
    gaps_s = sorted(b - a for a, b in zip(healthy.frames_at_s, healthy.frames_at_s[1:], strict=False))
    assert gaps_s[len(gaps_s) * 9 // 10] < 1, "the healthy client's frames kept coming"
    if reads_in_the_end:
        close_frame = struct.pack("!BBH", 0x88, 2 + len(b"stalled"), 1013) + b"stalled"
        assert await asyncio.to_thread(staller.reads_to, close_frame)
    else:
        async with asyncio.timeout(10):
            while open_sockets_to(staller.socket.getsockname()[1], push.process.port):
                await asyncio.sleep(0.05)
    staller.socket.close()


def open_sockets_to(client_port: int, server_port: int) -> bool:
    """Whether this process still holds the server's end: an aborted one is gone although nobody read from it."""
    with Path("/proc/net/tcp").open() as table:
        wanted = (f":{server_port:04X} ", f":{client_port:04X} ")
        return any(wanted[0] in line[:30] and wanted[1] in line[:45] and " 01 " in line[:40] for line in table)


@pytest.mark.slow
async def test_client_that_reads_slowly_then_it_stays_and_sees_the_newest(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(stall_timeout_s=30, queue_rows_max=50)
    await push.until_redis(True)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    await asyncio.to_thread(narrow.connect, ("127.0.0.1", push.process.port))
    client = await push.client(sock=narrow, max_queue=1)
    await client.subscribe("quote", "order:A1")
    await client.until(lambda: len(client.rows) == 2)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(flood(writer, stop))
        for revision in range(1, ORDER_REVISIONS + 1):
            await writer.write("order", "A1", {f"A1.{revision % 10}": {"revision": revision, "pad": PADDING * 160}})
            if revision % WRITTEN_PER_READ == 0:
                await client.receive()
        stop.set()
    last = writing.result()
    await client.until(lambda: client.rows["quote"]["S0"]["last_e4"] == last, timeout_s=60)
    await client.until(lambda: client.rows["order:A1"].get("A1.0", {}).get("revision") == ORDER_REVISIONS)
    revisions = sorted(row["revision"] for row in client.rows["order:A1"].values())
    assert revisions == list(range(ORDER_REVISIONS - 9, ORDER_REVISIONS + 1))
    assert client.snapshots.count("order:A1") > 1, "the queue was full, so the topic began anew"


async def test_more_rows_waiting_than_a_client_may_hold_then_it_is_dropped(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(client_rows_max=10)
    await push.until_redis(True)
    client = await push.client()
    await client.subscribe("quote")
    await client.until(lambda: "quote" in client.rows)
    before = dropped("too far behind")
    with pytest.raises(Exception, match="1013"):
        await writer.write("quote", "0", {f"S{n}": {"last_e4": 1} for n in range(100)})
        await client.until(lambda: False)
    assert dropped("too far behind") == before + 1
