"""A real Redis, a real push process in the test's loop, and a client that speaks its protocol."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import websockets
from common.testing.views import ViewWriter
from parts import LocalStack
from push.process import PushProcess
from push.settings import PushSettings
from redis.asyncio import Redis


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class Client:
    """Applies what it is told as the dashboard does, and fails where the numbers do not follow."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.seqs: dict[str, int] = {}
        self.snapshots: list[str] = []
        self.deltas: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.pongs: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {}
        self.frames_at_s: list[float] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def subscribe(self, *topics: str) -> None:
        await self.send(op="subscribe", topics=topics)

    async def receive(self) -> None:
        """One message."""
        message = json.loads(await self.socket.recv())
        match message["op"]:
            case "hello":
                self.hello = message
            case "snapshot":
                self.seqs[message["topic"]] = message["seq"]
                self.rows[message["topic"]] = message["rows"]
                self.snapshots.append(message["topic"])
            case "frame":
                self.frames_at_s.append(asyncio.get_running_loop().time())
                for delta in message["deltas"]:
                    self._apply(delta)
            case "health":
                self.status = message
            case "error":
                self.errors.append(message)
            case "pong":
                self.pongs.append(message)

    def _apply(self, delta: dict[str, Any]) -> None:
        topic = delta["topic"]
        assert delta["prev"] == self.seqs[topic], f"{topic}: a message is missing"
        self.seqs[topic] = delta["seq"]
        self.deltas.append(delta)
        for key, data in delta["rows"].items():
            if data is None:
                self.rows[topic].pop(key, None)
            else:
                self.rows[topic][key] = data

    async def until(self, condition: Callable[[], Any], timeout_s: float = 20) -> None:
        """Reads until the condition holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.receive()

    async def has(self, topic: str) -> None:
        """Reads until the topic's snapshot has come."""
        await self.until(lambda: topic in self.rows)

    async def has_begun(self, topic: str, times: int) -> None:
        """Reads until so many snapshots of the topic have come."""
        await self.until(lambda: self.snapshots.count(topic) == times)

    async def shows(self, topic: str, key: str, row: Any) -> None:
        """Reads until the row is this one."""
        await self.until(lambda: self.rows[topic].get(key) == row)

    async def shows_only(self, topic: str, rows: Any) -> None:
        """Reads until the topic has these rows and no other."""
        await self.until(lambda: self.rows[topic] == rows)


class Push:
    """A running push process."""

    def __init__(self, process: PushProcess, stack: AsyncExitStack) -> None:
        self.process = process
        self._stack = stack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    async def client(self, **options: Any) -> Client:
        url = f"ws://127.0.0.1:{self.process.port}/ws"
        socket = await self._stack.enter_async_context(
            websockets.connect(url, **({"max_size": None, "close_timeout": 1} | options))
        )
        client = Client(socket)
        await client.until(lambda: client.hello)
        return client

    async def until_redis(self, up: bool) -> None:
        """Waits for the connection to come or go."""
        async with asyncio.timeout(20):
            while self.process.service.feed.up != up:
                await self.process.service.feed.changed.wait()


@pytest.fixture
def new_client() -> type[Client]:
    """For tests that connect by themselves."""
    return Client


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the test alone."""
    for name in [name for name in os.environ if name.startswith("TIDEMARK_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[str]:
    """The URL of a Redis for tests that leave it alone."""
    with LocalStack({"redis"}) as stack:
        yield stack.addresses.redis_url


@pytest.fixture
async def redis(shared_redis: str) -> AsyncIterator[Redis]:
    """A client of the shared Redis, emptied."""
    async with Redis.from_url(shared_redis) as client:
        await client.flushall()
        yield client


@pytest.fixture
def writer(redis: Redis) -> ViewWriter:
    return ViewWriter(redis)


StartPush = Callable[..., Any]


@pytest.fixture
async def start_push(shared_redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartPush]:
    """Starts a push process with the settings given, and the shared Redis; everything ends with the test."""
    monkeypatch.setenv("TIDEMARK_REDIS_URL", shared_redis)
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Push:
            defaults: dict[str, Any] = {"static_dir": tmp_path, "worker_id": "push-test"}
            process = PushProcess(PushSettings(**(defaults | settings)))
            await process.start()
            stack.push_async_callback(process.stop)
            return Push(process, stack)

        yield start


@pytest.fixture
async def push(start_push: StartPush, redis: Redis) -> Push:
    started: Push = await start_push()
    await started.until_redis(True)
    return started
