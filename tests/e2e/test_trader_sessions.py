"""Sessions of accounts in a whole fleet: what it says of orders that it has followed itself is what is defined."""

import asyncio
import uuid
from collections import defaultdict
from typing import Any

import httpx
import pytest
from common.contracts.topics import ORDERS_EVENTS, ORDERS_SESSIONS, REF_INSTRUMENTS
from common.contracts.windows import ALLOWED_LATENESS_NS, Window
from streams.process.settings import Settings
from tidemark.deployment import Deployment
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.log_end import read_committed

from tests.signals.trader_referee import Sessions, newest, sessions_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
GAP_NS = Window("gap:30s").gap_ns
ACCOUNTS = ("sessions-1", "sessions-2")
ORDERS = 24
WAIT_S = 60


async def listed(settings: Settings) -> str:
    """A symbol of the feed."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async for messages in read_committed(settings, [REF_INSTRUMENTS]):
                for message in messages:
                    return str(message.body.symbol)
            await asyncio.sleep(0.2)


async def trade(deployment: Deployment, symbol: str) -> None:
    """Orders that are executed, rest and are canceled, or are denied."""
    async with HttpGateway(deployment.url("orders")) as gateway:
        await open_accounts(gateway, {account: [symbol] for account in ACCOUNTS})
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as http:
        for number in range(ORDERS):
            order: dict[str, Any] = {
                "account_id": ACCOUNTS[number % 2], "client_order_id": uuid.uuid4().hex[:16], "side": "B", "qty": 3,
                "symbol": "NOSUCH" if number % 5 == 0 else symbol,
            }  # fmt: skip
            rests = {"order_type": "LIMIT", "limit_price_e4": 100}
            takes = {"order_type": "MARKET", "time_in_force": "IOC"}
            assert (await http.post("/v1/orders", json=order | (rests if number % 3 else takes))).status_code < 500
        for account in ACCOUNTS:
            (await http.delete(f"/v1/accounts/{account}/orders")).raise_for_status()


async def told(settings: Settings) -> tuple[Sessions, Sessions]:
    """Sessions by definition, of the events so far, and those of the fleet."""
    events, records = defaultdict[int, list[Any]](list), list[Any]()
    async for messages in read_committed(settings, [ORDERS_EVENTS]):
        for message in messages:
            events[message.partition].append(message.body)
    async for messages in read_committed(settings, [ORDERS_SESSIONS]):
        records += [message.body for message in messages]
    expected: Sessions = {}
    for part in events.values():
        expected |= sessions_of(part, [GAP_NS], ALLOWED_LATENESS_NS)
    return expected, newest(records)


async def test_sessions_when_accounts_trade_then_those_of_the_definition(
    deployment: Deployment, settings: Settings
) -> None:
    await trade(deployment, await listed(settings))
    async with asyncio.timeout(WAIT_S):
        while True:
            expected, found = await told(settings)
            ended = sum(each.denied + each.canceled for each in expected.values())
            if found == expected and ended >= ORDERS // 2:
                break
            await asyncio.sleep(0.5)
    assert {account for account, *_ in found} == set(ACCOUNTS)
    assert sum(each.orders + each.denied for each in found.values()) == ORDERS
    assert sum(each.denied for each in found.values()) >= ORDERS // 5
