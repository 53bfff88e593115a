"""Under the dashboard's browser tests: a lively market, and an orders API whose answers a test can hold back."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from common.testing.views import ViewWriter
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from streams.service.web import WebServer

DATA: Final = Path(__file__).with_name("dashboard_data.py")
ACCEPTED_QTY_MAX: Final = 1_000
ALL_ENTRIES: Final = 2**53 - 1
"""As a ledger sequence: nothing can be newer."""


@asynccontextmanager
async def market(redis_url: str) -> AsyncIterator[None]:
    """Generated data, changing until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DATA), "--redis", redis_url, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def beating(writer: ViewWriter, said: dict[str, dict[str, Any]]) -> AsyncIterator[None]:
    """Writers that say twice a second how current they are; ``said``: what one of them says otherwise."""

    async def beat() -> None:
        while True:
            for name in ("signals.market", "risk.gate", "orders.lifecycle"):
                await writer.beat(name, **said.get(name, {}))
            await asyncio.sleep(0.5)

    beats = asyncio.create_task(beat())
    try:
        yield
    finally:
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)


class StandInOrders:
    """The orders API as far as the screen sees it: small orders are accepted, large ones denied with the numbers.

    Answers to submissions wait while ``answering`` is clear; ``silent`` makes every answer a 503, after the order was
    booked.
    """

    def __init__(self) -> None:
        self.orders: list[tuple[dict[str, Any], dict[str, str]]] = []
        """Bodies and headers of the submissions."""
        self.canceled: list[str] = []
        self.read: list[str] = []
        self.known: dict[str, dict[str, Any]] = {}
        """Answers to GET of an order, by id."""
        self.accounts: set[str] = set()
        self.events: dict[str, list[dict[str, Any]]] = {}
        """Events of an order, by its id; two of them are a page."""
        self.profits: dict[str, dict[str, Any]] = {}
        """Answers to GET of an account's profit, by account; of others that they have not traded."""
        self.profits_asked: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.silent = False
        self.url = ""

    def api(self) -> FastAPI:
        api = FastAPI()
        api.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
        api.post("/v1/orders")(self.submit)
        api.delete("/v1/orders/{order_id}")(self.cancel)
        api.get("/v1/orders/{order_id}")(self.order)
        api.get("/v1/accounts/{account_id}")(self.account)
        api.get("/v1/accounts/{account_id}/profit")(self.profit)
        api.get("/v1/orders/{order_id}/events")(self.events_of)
        return api

    async def submit(self, request: Request) -> Response:
        order = json.loads(await request.body())
        self.orders.append((order, dict(request.headers)))
        accepted = order["qty"] <= ACCEPTED_QTY_MAX
        book(self.known, order, "WORKING" if accepted else "DENIED")
        await self.answering.wait()
        if self.silent:
            return JSONResponse({"title": "No verdict in time"}, 503)
        if accepted:
            return JSONResponse({"accepted": True, "compared": {}}, 201)
        compared = {"needed_cash_e4": order["qty"] * order.get("limit_price_e4", 0), "available_cash_e4": 1_234_500}
        return JSONResponse({"title": "The order was denied", "reason": "CASH_INSUFFICIENT", "compared": compared}, 422)

    async def cancel(self, order_id: str) -> Response:
        self.canceled.append(order_id)
        return JSONResponse({"state": "CANCELED"})

    async def order(self, order_id: str) -> Response:
        self.read.append(order_id)
        order = self.known.get(order_id)
        return JSONResponse(order) if order else JSONResponse({"title": "No such order"}, 404)

    async def account(self, account_id: str) -> Response:
        if account_id in self.accounts:
            return JSONResponse({"account_id": account_id})
        return JSONResponse({"title": "No such account"}, 404)

    async def profit(self, account_id: str) -> Response:
        self.profits_asked.append(account_id)
        return JSONResponse(self.profits.get(account_id) or profit(account_id, ALL_ENTRIES, 0))

    async def events_of(self, order_id: str, after: int = 0) -> Response:
        if order_id not in self.events:
            return JSONResponse({"title": "No such order"}, 404)
        later = [event for event in self.events[order_id] if event["revision"] > after]
        page = {"items": later[:2]} | ({"next": later[1]["revision"]} if len(later) > 2 else {})
        return JSONResponse(page)


def profit(account_id: str, seq: int, realised_e4: int, **positions: tuple[int, int]) -> dict[str, Any]:
    """An answer to GET of an account's profit; ``positions``: symbol → shares and their cost, by either way."""
    held = [
        {"symbol": symbol, "qty": qty, "cost_fifo_e4": cost_e4, "cost_average_e4": cost_e4}
        for symbol, (qty, cost_e4) in positions.items()
    ]
    realised = {"realised_fifo_e4": realised_e4, "realised_average_e4": realised_e4}
    return {"account_id": account_id, "seq": seq, **realised, "positions": held}


def book(known: dict[str, dict[str, Any]], order: dict[str, Any], state: str) -> None:
    """Keeps the order as GET answers it."""
    order_id = f"{order['account_id']}.{order['client_order_id']}"
    rest = {"cum_qty": 0, "leaves_qty": order["qty"], "notional_e4": 0, "text": "", "revision": 2}
    reason = "CASH_INSUFFICIENT" if state == "DENIED" else None
    known[order_id] = (
        order | rest | {"order_id": order_id, "state": state, "reason": reason, "sent_ns": 1, "updated_ns": 1}
    )


@asynccontextmanager
async def stand_in_orders() -> AsyncIterator[StandInOrders]:
    """Serves one until the block ends."""
    orders = StandInOrders()
    server = WebServer(orders.api(), "127.0.0.1", 0)
    await server.start()
    orders.url = f"http://127.0.0.1:{server.port}"
    try:
        yield orders
    finally:
        orders.answering.set()
        await server.stop()
