"""Flink SQL and Kafka Connect beside a fleet, by the guide "Read the log with your own programs".

Through the registry they come to the prices and balances that the fleet itself says, and to every decision, once. And
what another producer writes to ``md.events`` is in the bars.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from common.avro.on_file import by_name
from common.contracts.events import CommandResult
from common.contracts.market import vwap_e4
from common.contracts.topics import MD_BARS, MD_EVENTS, REF_INSTRUMENTS, RISK_DECISIONS
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import file_feed
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.log_end import read_committed
from tidemark.services import FLEET
from tidemark.state import StateDir

from tests.e2e.other_programs import Rows, connect_worker, flink_answers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]
DAY = "2024-03-15"
MESSAGES = 36_000
MINUTE_NS = 60_000_000_000
SPEED = "15"
"""Three minutes of the session in twelve seconds."""
ACCOUNTS = ("flink-1", "flink-2")
ORDERS = 20
WAIT_S = 120
Priced = Mapping[tuple[str, int], tuple[int, int, int]]
"""(symbol, begin of the minute) → VWAP, volume, trades."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A fleet that writes Avro, and events, of a short session with broken trades; two accounts send orders in it."""
    directory = tmp_path_factory.mktemp("fleet")
    path = directory / f"{DAY}.itch"
    chosen = ExchangeOptions(symbols=12, seed=3, rate=200, messages=MESSAGES, breaks_per_million=2_000)
    with path.open("wb") as file:
        file.writelines(exchange_chunks(chosen))
    feed = file_feed(path, SPEED, DAY) | {"TIDEMARK_FEED_EVENTS": "true"}
    options = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, services=FLEET, registry=True)
    async with Deployment(StateDir(directory / "state"), options) as deployment:
        await trade(deployment)
        yield deployment


def settings_of(deployment: Deployment) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap=deployment.addresses.kafka_bootstrap),
        schema_registry_url=deployment.registry_url,
        redis=RedisSettings(url=""),
    )


async def symbols(deployment: Deployment) -> list[str]:
    """Those that the feed has announced."""
    found: set[str] = set()
    async with asyncio.timeout(WAIT_S):
        while len(found) < 2:
            async for messages in read_committed(settings_of(deployment), [REF_INSTRUMENTS]):
                found |= {message.body.symbol for message in messages}
            await asyncio.sleep(0.2)
    return sorted(found)


async def trade(deployment: Deployment) -> None:
    """Cash and shares come in, and orders in one symbol after the other, whatever the gate says of them."""
    listed = await symbols(deployment)
    async with HttpGateway(deployment.url("orders")) as gateway:
        await open_accounts(gateway, dict.fromkeys(ACCOUNTS, listed[:2]))
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as http:
        for number in range(ORDERS):
            order = {
                "account_id": ACCOUNTS[number % 2], "client_order_id": uuid.uuid4().hex[:16], "side": "B", "qty": 3,
                "symbol": listed[number % len(listed)], "order_type": "MARKET", "time_in_force": "IOC",
            }  # fmt: skip
            assert (await http.post("/v1/orders", json=order)).status_code < 500


async def over(deployment: Deployment) -> Priced:
    """The minutes of ``md.bars``, by their last revisions, once the feed is over and signals has said all of it."""
    async with httpx.AsyncClient(base_url=deployment.url("ingest")) as http, asyncio.timeout(WAIT_S):
        while next_message((await http.get("/health/ready")).json()) <= MESSAGES:
            await asyncio.sleep(0.5)
    before: Priced = {}
    async with asyncio.timeout(WAIT_S):
        while not (priced := await minutes(deployment)) or priced != before:
            before = priced
            await asyncio.sleep(3)
    return priced


def next_message(page: Any) -> int:
    number: int = page["checks"]["feed session"]["detail"]["next_message"]
    return number


async def minutes(deployment: Deployment) -> Priced:
    newest: dict[tuple[str, int], Any] = {}
    async for messages in read_committed(settings_of(deployment), [MD_BARS]):
        for row in (row for message in messages for row in message.body if row["window_ns"] == MINUTE_NS):
            key = row["symbol"].decode(), int(row["window_start_ns"])
            if key not in newest or row["revision"] > newest[key]["revision"]:
                newest[key] = row
    return {
        key: (vwap_e4(int(row["notional_e4"]), int(row["volume"])), int(row["volume"]), int(row["trades"]))
        for key, row in newest.items()
        if row["trades"]
    }


async def balances(deployment: Deployment) -> dict[tuple[str, str], tuple[int, int]]:
    """(account, asset) → what is available, and what is reserved, as the API says it."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as http:
        for account in ACCOUNTS:
            page = (await http.get(f"/v1/accounts/{account}")).raise_for_status().json()
            found[account, "@CASH"] = page["cash_e4"] - page["reserved_cash_e4"], page["reserved_cash_e4"]
            for held in page["positions"]:
                found[account, held["symbol"]] = held["qty"] - held["reserved_qty"], held["reserved_qty"]
    return found


def priced_by(rows: Rows) -> Priced:
    return {(symbol, int(start)): (int(vwap), int(volume), int(trades)) for symbol, start, vwap, volume, trades in rows}


async def test_flink_sql_when_it_reads_through_the_registry_then_prices_and_balances_are_the_fleets(
    traded: Deployment, tmp_path: Path
) -> None:
    expected = await over(traded)
    bootstrap, registry = traded.addresses.kafka_bootstrap, traded.registry_url
    of_events, of_bars, of_ledger = await asyncio.to_thread(flink_answers, tmp_path, bootstrap, registry)
    held = await balances(traded)
    assert len(expected) > 24
    assert priced_by(of_bars) == expected
    assert priced_by(of_events) == expected
    nonzero = {(row[0], row[1]): (int(row[2]), int(row[3])) for row in of_ledger if row[2:] != ["0", "0"]}
    assert nonzero == {key: amounts for key, amounts in held.items() if any(amounts)}
    assert len(nonzero) >= len(ACCOUNTS) * 3, "each has cash and two symbols"


async def test_connect_when_its_sink_copies_decisions_through_avro_then_each_is_in_the_file_once(
    traded: Deployment, tmp_path: Path
) -> None:
    decided = [
        message.body async for messages in read_committed(settings_of(traded), [RISK_DECISIONS]) for message in messages
    ]
    assert len(decided) > ORDERS
    with connect_worker(tmp_path, traded.addresses.kafka_bootstrap, traded.registry_url) as file:
        async with asyncio.timeout(WAIT_S):
            while not file.exists() or len(file.read_text("utf-8").splitlines()) < len(decided):
                await asyncio.sleep(0.5)
        lines = file.read_text("utf-8").splitlines()
    assert len(lines) == len(decided)
    for body in decided:
        name = "command_id" if isinstance(body, CommandResult) else "client_order_id"
        said = (
            f"account_id={body.account_id},",
            f"{name}={getattr(body, name)},",
            f"accepted={str(body.accepted).lower()},",
        )
        assert sum(all(field in line for field in said) for line in lines) == 1, said


def written_by_another_producer(deployment: Deployment, events: Sequence[Any]) -> None:
    """Confluent's own producer, serialiser and partitioner."""
    registry = SchemaRegistryClient({"url": deployment.registry_url})
    file = by_name()["market-event.v1.avsc"]
    chosen = {"auto.register.schemas": False, "use.latest.version": True}
    serialise = AvroSerializer(registry, file.text(), conf=chosen)
    producer = Producer({"bootstrap.servers": deployment.addresses.kafka_bootstrap})
    for event in events:
        context = SerializationContext(MD_EVENTS.name, MessageField.VALUE)
        producer.produce(MD_EVENTS.name, key=event["symbol"].encode(), value=serialise(event, context))
    assert producer.flush(WAIT_S) == 0


async def test_events_when_another_producer_writes_them_then_a_bar_holds_their_trades(traded: Deployment) -> None:
    symbol = (await symbols(traded))[0]
    before = await over(traded)
    minute_ns = max(start for _, start in before) + 10 * MINUTE_NS
    said = {"symbol": symbol, "venue": "TEST", "from_ticks": False}
    trades = [
        said | {"kind": "TRADE", "event_ns": minute_ns + at, "price_e4": 10_000 + at, "qty": 2, "trade_id": at}
        for at in range(1, 11)
    ]
    end = said | {"kind": "HEARTBEAT", "event_ns": minute_ns + MINUTE_NS}
    await asyncio.to_thread(written_by_another_producer, traded, [*trades, trades[0], end])
    async with asyncio.timeout(WAIT_S):
        while (symbol, minute_ns) not in (found := await minutes(traded)):
            await asyncio.sleep(0.5)
    assert found[symbol, minute_ns] == (10_005, 20, 10)
