"""Every suffix of the published table, from the exchange's bytes over HTTP to the gate's ledger and back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from common.contracts.ticks import TickKind
from common.contracts.values import E4
from common.testing.listed_symbols import LISTED
from ingest.domain.itch_spec import MESSAGES
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import file_feed
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DAY = "2024-03-15"
ACCOUNT = "lister"
OPEN_NS = 34_200_000_000_000
WITHIN_S = 120


def itch(kind: TickKind, locate: int, stock: str, **values: Any) -> bytes:
    """One framed message at the market's open."""
    row = np.zeros(1, MESSAGES[kind])
    for name in row.dtype.names or ():
        if row.dtype[name].kind == "S":
            row[name] = b" " * row.dtype[name].itemsize
    row["message_type"], row["stock_locate"] = chr(kind).encode(), locate
    row["timestamp_high"], row["timestamp_low"] = OPEN_NS >> 32, OPEN_NS & 0xFFFF_FFFF
    for name, value in ({"stock": stock.encode().ljust(8)} | values).items():
        row[name] = value
    return row.itemsize.to_bytes(2, "big") + row.tobytes()


def quoted(symbols: tuple[str, ...]) -> Iterator[bytes]:
    """A session in which each symbol trades and is quoted 9.99 to 10.00."""
    for locate, stock in enumerate(symbols, 1):
        yield itch(TickKind.STOCK_DIRECTORY, locate, stock, round_lot_size=100, round_lots_only=b"N")
        yield itch(TickKind.TRADING_ACTION, locate, stock, trading_state=b"T")
        for number, (side, price_e4) in enumerate(((b"B", 99_900), (b"S", 10 * E4))):
            order = {"order_reference_number": 2 * locate + number, "buy_sell_indicator": side, "shares": 1_000}
            yield itch(TickKind.ADD, locate, stock, **order, price=price_e4)


async def accepted(http: httpx.AsyncClient, symbol: str) -> httpx.Response:
    """The answer to an order, asked under new ids until the symbol's quote has reached the gate."""
    order = {"account_id": ACCOUNT, "symbol": symbol, "side": "B", "order_type": "LIMIT", "time_in_force": "IOC"}
    for attempt in range(10 * WITHIN_S):
        body = order | {"client_order_id": f"{symbol.encode().hex()}-{attempt}", "qty": 5, "limit_price_e4": 10 * E4}
        answer = await http.post("/v1/orders", json=body)
        if not answer.json().get("transient"):
            return answer
        await asyncio.sleep(0.1)
    raise TimeoutError(f"no quote of {symbol} reached the gate")


async def test_order_when_its_symbol_has_any_published_suffix_then_it_is_accepted_filled_and_held(
    tmp_path: Path,
) -> None:
    path = tmp_path / f"{DAY}.itch"
    path.write_bytes(b"".join(quoted(LISTED)))
    services = ("ingest", "signals", "risk", "orders")
    options = DeploymentOptions(any_free_ports=True, feed=file_feed(path, "max", DAY), keep=False, services=services)
    async with Deployment(StateDir(tmp_path / "fleet"), options) as deployment:
        async with HttpGateway(deployment.url("orders")) as gateway:
            await open_accounts(gateway, {ACCOUNT: ["ABCD@"]})
        async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=60) as http:
            answers = {symbol: await accepted(http, symbol) for symbol in LISTED}
            assert {symbol: answer.text for symbol, answer in answers.items() if answer.status_code != 201} == {}
            assert [answer.json()["intent"]["symbol"] for answer in answers.values()] == list(LISTED)
            async with asyncio.timeout(WITHIN_S):
                while (held := await holdings(http)).keys() != set(LISTED) or held["X@"] != 5:
                    await asyncio.sleep(0.2)
            assert {symbol: qty for symbol, qty in held.items() if symbol != "ABCD@"} == dict.fromkeys(
                [symbol for symbol in LISTED if symbol != "ABCD@"], 5
            )
            refused = await http.post("/v1/orders", json={**answers["X"].json()["intent"], "symbol": "@X"})
            assert refused.status_code == 400


async def holdings(http: httpx.AsyncClient) -> dict[str, int]:
    """Symbol → shares."""
    page = (await http.get(f"/v1/accounts/{ACCOUNT}")).json()
    return {position["symbol"]: position["qty"] for position in page["positions"]}
