"""Pages for operators at a port of their own: nothing else is there, and they are nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
from fastapi import FastAPI, WebSocket
from streams.process.settings import OperationsSettings, RedisSettings, Settings
from streams.service.frame import Frame
from streams.service.operations import OPERATORS_PAGES, Health, operations_router

PAGES = sorted(OPERATORS_PAGES - {"/docs"})
"""Those that every service has; the page of an API is orders' own."""


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Frame]:
    health, web = Health("test"), FastAPI(docs_url=None, redoc_url=None)
    web.include_router(operations_router(health))
    web.add_api_route("/v1/thing", lambda: {"thing": 1})

    @web.websocket("/ws")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("here")
        await socket.close()

    @web.get("/docs")
    async def docs() -> str:
        return "docs"

    frame = Frame("test", Settings(redis=RedisSettings(url=""), **settings), health, web, ws="websockets-sansio")
    await frame.start()
    try:
        yield frame
    finally:
        await frame.stop()


async def status(port: int, path: str, method: str = "GET") -> int:
    async with httpx.AsyncClient() as http:
        return (await http.request(method, f"http://127.0.0.1:{port}{path}")).status_code


async def test_pages_when_they_have_a_port_then_they_are_there_and_nowhere_else() -> None:
    async with served(operations=OperationsSettings(port=0)) as frame:
        assert frame.operations_port != frame.port
        for path in (*PAGES, "/docs"):
            assert await status(frame.operations_port, path) == 200, path
            assert await status(frame.port, path) == 404, path
            assert await status(frame.port, path, "POST") == 404, path


async def test_everything_else_when_they_have_a_port_then_it_is_at_the_service_s_alone() -> None:
    async with served(operations=OperationsSettings(port=0)) as frame:
        assert await status(frame.port, "/v1/thing") == 200
        for path in ("/v1/thing", "/", "/metrics/", "//metrics", "/nothing"):
            assert await status(frame.operations_port, path) == 404, path
        async with websockets.connect(f"ws://127.0.0.1:{frame.port}/ws") as socket:
            assert await socket.recv() == "here"
        with pytest.raises(websockets.InvalidHandshake):
            await websockets.connect(f"ws://127.0.0.1:{frame.operations_port}/ws")


async def test_answer_of_a_shut_door_then_a_problem_with_the_headers_of_all_answers() -> None:
    async with served(operations=OperationsSettings(port=0)) as frame, httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{frame.port}/metrics")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:tidemark:problem:not-found"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not (await http.head(f"http://127.0.0.1:{frame.port}/metrics")).content


async def test_pages_when_they_have_no_port_then_at_the_service_s() -> None:
    async with served() as frame:
        assert frame.operations_port == frame.port
        assert [await status(frame.port, path) for path in (*PAGES, "/v1/thing")] == [200] * (len(PAGES) + 1)
