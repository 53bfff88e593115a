"""Reports of a venue that the books refuse, on a running fleet: seen, listed, resolved by hand, and audited."""

import asyncio
import json
import sys
import time
import uuid
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from common.contracts.breaks import BreakReason
from common.contracts.events import ExecType, ExecutionReport
from common.contracts.topics import ORDERS_EXECUTIONS
from common.contracts.values import Side
from common.contracts.views import view_channel
from redis.asyncio import Redis
from tidemark import metrics
from tidemark.deployment import Deployment
from tidemark.quotes import QuoteBoard

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
WAIT_S = 60.0
QTY = 100


class Desk:
    """One account with one resting order, and a venue that says what the test wants."""

    def __init__(self, deployment: Deployment, http: httpx.AsyncClient, symbol: str, limit_e4: int) -> None:
        self.deployment, self.http = deployment, http
        self.symbol, self.limit_e4 = symbol, limit_e4
        self.account = f"B{uuid.uuid4().hex[:8]}"
        self.order_id = f"{self.account}.o"

    async def begin(self) -> None:
        path = f"/v1/accounts/{self.account}"
        await self.post(path, {"command_id": "open"})
        await self.post(f"{path}/fund", {"command_id": "cash", "cash_e4": 10**12})
        order = {
            "account_id": self.account,
            "client_order_id": "o",
            "symbol": self.symbol,
            "side": "B",
            "order_type": "LIMIT",
            "qty": QTY,
            "limit_price_e4": self.limit_e4,
        }
        await self.post("/v1/orders", order)
        await self.reach(state="WORKING")

    async def post(self, path: str, body: dict[str, Any]) -> None:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 201, answer.text

    async def reach(self, **wanted: Any) -> dict[str, Any]:
        """The order once the read side shows it so."""
        end = time.monotonic() + WAIT_S
        order: dict[str, Any] = {}
        while time.monotonic() < end:
            answer = await self.http.get(f"/v1/orders/{self.order_id}")
            order = answer.json()
            if answer.status_code == 200 and wanted.items() <= order.items():
                return order
            await asyncio.sleep(0.1)
        raise AssertionError(f"{order} is not {wanted}")

    async def settle(self, qty: int) -> dict[str, Any]:
        """The account once the gate has booked so many shares; the lifecycle shows a report sooner or later than it."""
        end = time.monotonic() + WAIT_S
        held: list[int] = []
        while time.monotonic() < end:
            account: dict[str, Any] = (await self.http.get(f"/v1/accounts/{self.account}")).json()
            held = [position["qty"] for position in account["positions"]]
            if held == [qty]:
                return account
            await asyncio.sleep(0.1)
        raise AssertionError(f"{held} is not [{qty}]")

    async def say(self, *reports: ExecutionReport) -> None:
        """As a session with a real venue would."""
        async with AIOKafkaProducer(bootstrap_servers=self.deployment.addresses.kafka_bootstrap) as producer:
            for report in reports:
                value = ORDERS_EXECUTIONS.schema.encode(report)
                await producer.send_and_wait(ORDERS_EXECUTIONS.name, value, report.account_id.encode())

    def report(self, exec_type: ExecType, execution_id: str, **fields: Any) -> ExecutionReport:
        defaults: dict[str, Any] = {
            "order_id": self.order_id,
            "account_id": self.account,
            "symbol": self.symbol,
            "side": Side.BUY,
            "venue_ns": time.time_ns(),
        }
        return ExecutionReport(exec_type=exec_type, execution_id=f"{self.account}.{execution_id}", **defaults | fields)

    def trade(self, execution_id: str, qty: int, cum_qty: int, leaves_qty: int, **fields: Any) -> ExecutionReport:
        fill = {"last_qty": qty, "last_price_e4": self.limit_e4, "cum_qty": cum_qty, "leaves_qty": leaves_qty}
        return self.report(ExecType.TRADE, execution_id, **fill | fields)

    async def tidemark(self, *arguments: str) -> tuple[int, str]:
        where = self.deployment.addresses
        command = [sys.executable, "-m", "tidemark.main", *arguments, "--bootstrap", where.kafka_bootstrap]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def breaks(self, *options: str) -> list[dict[str, Any]]:
        code, out = await self.tidemark("breaks", "list", "--json", "--account", self.account, *options)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]

    async def resolve(self, break_id: str, how: str) -> tuple[int, dict[str, Any]]:
        api = ("--api", self.deployment.url("orders"))
        code, out = await self.tidemark("breaks", "resolve", break_id, how, "--note", "asked the venue", "--json", *api)
        return code, json.loads(out)


async def test_reports_that_cannot_be_true_then_listed_shown_counted_resolved_and_the_audit_is_sound(
    deployment: Deployment,
) -> None:
    async with QuoteBoard(deployment.addresses.redis_url) as board:
        (symbol, *_) = await board.wait_for_market(1, WAIT_S)
        await board.watch([symbol])
        quote = board(symbol)
    assert quote is not None
    limit_e4 = quote.bid_e4 * 98 // 100 // 100 * 100
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as http:
        desk = Desk(deployment, http, symbol, limit_e4)
        await desk.begin()
        await desk.say(
            desk.trade("V1", 40, 40, 60),
            desk.trade("V1", 40, 40, 60),
            desk.trade("V1", 20, 60, 40),
            desk.trade("V2", 70, 110, 0),
            desk.trade("V3", 5, 5, 0, order_id=f"{desk.account}.never"),
        )
        await desk.reach(state="PARTIALLY_FILLED", cum_qty=40, leaves_qty=60)
        found = {one["reason"]: one for one in await desk.breaks()}
        assert set(found) == {BreakReason.EXECUTION_ID_REUSED, BreakReason.OVERFILL, BreakReason.ORDER_UNKNOWN}
        assert found["OVERFILL"]["compared"] == {"last_qty": 70, "open_qty": 60, "excess_qty": 10}
        page = await metrics.scrape({"risk": deployment.url("risk")})
        assert metrics.total(page["risk"], "tidemark_risk_breaks_open") == 3

        assert (await desk.resolve(found["EXECUTION_ID_REUSED"]["break_id"], "--break"))[0] == 0
        code, denied = await desk.resolve(found["EXECUTION_ID_REUSED"]["break_id"], "--book")
        assert (code, denied["reason"]) == (2, "BREAK_RESOLVED")
        assert (await desk.resolve(found["OVERFILL"]["break_id"], "--book"))[0] == 0
        order = await desk.reach(state="FILLED", cum_qty=110, leaves_qty=0)
        assert order["text"].startswith("booked by hand: TRADE")

        await desk.say(desk.report(ExecType.TRADE_CANCEL, "V4", ref_execution_id=f"{desk.account}.V1", leaves_qty=100))
        await desk.reach(state="FILLED", cum_qty=70)
        account = await desk.settle(qty=70)
        assert account["reserved_cash_e4"] == 0
        assert [one["state"] for one in await desk.breaks("--all")] == ["BREAK", "BOOK", "OPEN"]
        await _check_view(deployment, desk.account, found["ORDER_UNKNOWN"]["break_id"])

        where = deployment.addresses
        code, out = await desk.tidemark("audit", "--json", "--redis", where.redis_url, "--postgres", where.postgres_dsn)
        report = json.loads(out)
        assert (code, report["violations"], report["breaks_open"]) == (0, 0, 1), report


async def _check_view(deployment: Deployment, account: str, break_id: str) -> None:
    redis: Redis = Redis.from_url(deployment.addresses.redis_url)
    try:
        end = time.monotonic() + WAIT_S
        while set(await redis.hkeys(view_channel("break", account))) != {break_id.encode()}:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
    finally:
        await redis.aclose()
