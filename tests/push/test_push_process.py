"""``python -m push`` as it is run: its own process, its own event loop, signals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from common.testing.views import ViewWriter
from parts.ports import free_port
from redis.asyncio import Redis


@pytest.fixture
async def process(shared_redis: str, redis: Redis, tmp_path: Path) -> AsyncIterator[tuple[Any, int]]:
    """A ready push process, and its port."""
    port = free_port()
    own = {"REDIS_URL": shared_redis, "HTTP_PORT": str(port), "WORKER_ID": "push-1", "STATIC_DIR": str(tmp_path)}
    environment = os.environ | {f"TIDEMARK_{name}": value for name, value in own.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "push", "worker", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            while True:
                assert process.returncode is None
                try:
                    if (await http.get("/health/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_process_serves_frames_through_lost_connections_and_ends_in_order(
    process: tuple[Any, int], redis: Redis, writer: ViewWriter, new_client: Any
) -> None:
    running, port = process
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as socket:
        client = new_client(socket)
        await client.subscribe("quote", "order:A1")
        await client.until(lambda: len(client.rows) == 2)

        async def write() -> None:
            for number in range(1, 201):
                await writer.write("quote", "0", {"AAPL": {"last_e4": number}})
                await writer.write("order", "A1", {"A1.1": {"revision": number}})
                if number % 40 == 0:
                    await redis.client_kill_filter(_type="pubsub")
                await asyncio.sleep(0.01)
            while True:  # what the last cut lost shows with the next change
                await writer.write("quote", "0", {"AAPL": {"last_e4": 201}})
                await writer.write("order", "A1", {"A1.1": {"revision": 201}})
                await asyncio.sleep(0.1)

        writing = asyncio.create_task(write())
        await client.until(lambda: client.rows["quote"].get("AAPL", {}).get("last_e4") == 201, timeout_s=60)
        await client.until(lambda: client.rows["order:A1"].get("A1.1", {}).get("revision") == 201, timeout_s=60)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert len(client.frames_at_s) > 10
        running.send_signal(signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.until(lambda: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert await asyncio.wait_for(running.wait(), 20) == 0
