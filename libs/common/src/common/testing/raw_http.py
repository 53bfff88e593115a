"""HTTP by bytes: what a server answers to exactly these, and when it closes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from streams.process.http_limits import HttpLimits
from streams.service.web import WebServer

HOST: Final = b"Host: localhost\r\n"
DEADLINE_S: Final = 10.0


@dataclass
class Answer:
    """Bytes that came back on one connection."""

    raw: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.raw)]

    @property
    def problem(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw.rpartition(b"\r\n\r\n")[2])
        return body


@asynccontextmanager
async def serving(web: FastAPI, limits: HttpLimits | None = None, **options: Any) -> AsyncIterator[WebServer]:
    """The application on a free port of 127.0.0.1."""
    server = WebServer(web, "127.0.0.1", 0, limits, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def read(reader: asyncio.StreamReader, until: Callable[[Answer], bool] | None = None) -> Answer:
    """Everything until the server closes, or until it is enough."""
    raw = b""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                piece = await reader.read(65_536)
            except ConnectionError:
                piece = b""
            raw += piece
            answer = Answer(raw, closed=not piece)
            if answer.closed or (until and until(answer)):
                return answer


async def talk(server: WebServer, *parts: bytes, until: Callable[[Answer], bool] | None = None) -> Answer:
    """Sends the parts on a connection of their own while what comes back is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

    async def send() -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        return await read(reader, until)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


def get(path: bytes, *headers: bytes) -> bytes:
    """A GET with a Host of ours."""
    return b"GET %s HTTP/1.1\r\n%s%s\r\n" % (path, HOST, b"".join(headers))
