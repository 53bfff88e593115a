"""The kill switch on a running fleet: it blocks within a second, cancels what is open, and outlives a killed gate."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from common.contracts.controls import FIRM
from tidemark.deployment import Deployment
from tidemark.quotes import QuoteBoard

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
WAIT_S = 120.0
ACCOUNTS = 8
NS_PER_S = 1_000_000_000


class Traders:
    """Accounts that send orders which rest, one after the other, for as long as they are let."""

    def __init__(self, http: httpx.AsyncClient, symbol: str, limit_e4: int) -> None:
        self.http, self.symbol, self.limit_e4 = http, symbol, limit_e4
        self.accounts = [f"K{uuid.uuid4().hex[:8]}" for _ in range(ACCOUNTS)]
        self.decisions: list[dict[str, Any]] = []

    async def begin(self) -> None:
        for account in self.accounts:
            for path, body in (("", {"command_id": "open"}), ("/fund", {"command_id": "f", "cash_e4": 10**12})):
                assert (await self.http.post(f"/v1/accounts/{account}{path}", json=body)).status_code == 201

    async def order(self, account: str) -> dict[str, Any]:
        """The gate's decision."""
        body = {
            "account_id": account,
            "client_order_id": uuid.uuid4().hex,
            "symbol": self.symbol,
            "side": "B",
            "order_type": "LIMIT",
            "qty": 1,
            "limit_price_e4": self.limit_e4,
        }
        answer = await self.http.post("/v1/orders", json=body)
        assert answer.status_code in (201, 422), answer.text
        decision: dict[str, Any] = answer.json() if answer.status_code == 201 else answer.json()["decision"]
        self.decisions.append(decision)
        return decision

    @asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        async def trade(account: str) -> None:
            while True:
                await self.order(account)

        tasks = [asyncio.create_task(trade(account)) for account in self.accounts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    async def open_orders(self) -> int:
        found = 0
        for account in self.accounts:
            orders = (await self.http.get(f"/v1/accounts/{account}/orders")).json()["items"]
            found += sum(order["state"] not in ("CANCELED", "DENIED") for order in orders)
        return found

    async def reach(self, reason: str | None) -> None:
        """Orders until one is accepted, or denied for this reason."""
        said: str | None = None
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                said = (await self.order(self.accounts[0])).get("reason")
            except (AssertionError, httpx.HTTPError):
                said = "no answer"
            if said == reason:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{said} is not {reason}")


async def test_firm_halted_under_load_then_blocked_within_a_second_canceled_kept_across_a_kill_and_resumed_by_a_person(
    deployment: Deployment,
) -> None:
    async with QuoteBoard(deployment.addresses.redis_url) as board:
        (symbol, *_) = await board.wait_for_market(1, WAIT_S)
        await board.watch([symbol])
        quote = board(symbol)
    assert quote is not None
    limit_e4 = quote.bid_e4 * 95 // 100 // 100 * 100
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as http:
        traders = Traders(http, symbol, limit_e4)
        await traders.begin()
        halt = {"command_id": uuid.uuid4().hex, "by": "watch", "note": "loss", "state": "HALTED", "automatic": True}
        async with traders.trading():
            await asyncio.sleep(3)
            asked_ns = time.time_ns()
            answer = await http.post(f"/v1/controls/{FIRM}/state", json=halt)
            assert answer.status_code == 201, answer.text
            await asyncio.sleep(3)
        accepted = [each["decided_ns"] for each in traders.decisions if each["accepted"]]
        late_ns = max(accepted) - asked_ns
        after = [each for each in traders.decisions if each["decided_ns"] > asked_ns + NS_PER_S]
        print(f"{len(accepted)} accepted, the last {late_ns / 1e6:.0f} ms after the halt was asked for")
        assert len(accepted) > ACCOUNTS and after
        assert late_ns < NS_PER_S
        assert {each["reason"] for each in after} == {"TRADING_HALTED"}

        end = time.monotonic() + WAIT_S
        while open_orders := await traders.open_orders():
            assert time.monotonic() < end, f"{open_orders} orders are open still"
            await asyncio.sleep(0.2)

        deployment.fleet.kill("risk")
        await traders.reach("TRADING_HALTED")
        resume = halt | {"command_id": uuid.uuid4().hex, "state": "ACTIVE"}
        denied = await http.post(f"/v1/controls/{FIRM}/state", json=resume)
        assert (denied.status_code, denied.json()["reason"]) == (422, "RESUME_NEEDS_PERSON")
        where = deployment.addresses
        arguments = ("state", "ACTIVE", "--note", "looked at", "--by", "bob", "--api", deployment.url("orders"))
        assert await tidemark("controls", *arguments) == 0
        await traders.reach(None)
        assert await tidemark("controls", "list", "--bootstrap", where.kafka_bootstrap) == 0
        audit = ("--bootstrap", where.kafka_bootstrap, "--redis", where.redis_url, "--postgres", where.postgres_dsn)
        assert await tidemark("audit", *audit) == 0


async def tidemark(*arguments: str) -> int:
    command = [sys.executable, "-m", "tidemark.main", *arguments]
    process = await asyncio.create_subprocess_exec(*command)
    return await process.wait()
