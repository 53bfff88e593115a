"""The shipped alert rules on the real Prometheus beside a trading fleet: each one rings by its real cause, and ends."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from common.avro.codec import AvroFraming
from common.avro.on_file import by_name
from common.avro.registry import CACHE, Schemas
from common.contracts.events import (
    CASH,
    Book,
    Decision,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    OrderIntent,
    Posting,
)
from common.contracts.topics import (
    MD_TICKS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_DECISIONS,
    RISK_LEDGER,
    SIGNALS_MARKET_CHANGELOG,
    Topic,
)
from common.contracts.values import OrderType, Side
from parts.errors import PartsError
from parts.prometheus import Alerts, Prometheus, find_prometheus
from redis.asyncio import Redis
from streams.edges.reader import CommittedReader
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.process.settings import KafkaSettings, Settings
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.services import FLEET
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]
RULES = Path(__file__).parents[2] / "compose" / "alerts.yml"
ACCOUNT = "ring"
FILL_MAX_S = 8
LATER_ID = 0x7EED0001


class Ringing:
    """A fleet, and the alerts of the Prometheus that watches it."""

    def __init__(self, deployment: Deployment, alerts: Alerts) -> None:
        self.deployment = deployment
        self.alerts = alerts

    async def produce(self, topic: Topic, value: bytes) -> None:
        """As a foreign producer does."""
        async with AIOKafkaProducer(bootstrap_servers=self.deployment.addresses.kafka_bootstrap) as producer:
            await producer.send_and_wait(topic.name, value, ACCOUNT.encode())

    async def submit(self, client_order_id: str) -> int:
        """The status of a request for an order; 0 where there was no answer."""
        order = {
            "account_id": ACCOUNT,
            "client_order_id": client_order_id,
            "symbol": "ACME",
            "side": "B",
            "order_type": "MARKET",
            "time_in_force": "IOC",
            "qty": 1,
        }
        async with httpx.AsyncClient(base_url=self.deployment.url("orders"), timeout=30) as http:
            return (await http.post("/v1/orders", json=order)).status_code

    def signal(self, service: str, number: signal.Signals) -> None:
        self.deployment.fleet.kill(service, number)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ringing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ringing]:
    try:
        find_prometheus()
    except PartsError as error:
        pytest.skip(str(error))
    options = DeploymentOptions(
        any_free_ports=True,
        feed=synthetic_feed(seed=5, rate_per_s=500, symbols=20),
        keep=False,
        services=FLEET,
        environment={
            "TIDEMARK_AUDIT_CALM_S": "5",
            "TIDEMARK_AUDIT_FENCE": "true",
            "TIDEMARK_AUDIT_FILL_MAX_S": str(FILL_MAX_S),
            "TIDEMARK_STORE_GIVE_UP_S": "3",
            "TIDEMARK_RESTART_BACKOFF_MAX_S": "2",
        },
    )
    root = tmp_path_factory.mktemp("ringing")
    async with Deployment(StateDir(root / "fleet"), options) as deployment:
        targets = {name: deployment.url(name).removeprefix("http://") for name in deployment.fleet.names}
        prometheus = Prometheus(root / "prometheus", targets, RULES)
        await asyncio.to_thread(prometheus.start)
        alerts = Alerts(prometheus.address)
        try:
            async with HttpGateway(deployment.url("orders")) as gateway:
                await open_accounts(gateway, {ACCOUNT: ()})
            await alerts.scraped("tidemark_auditor_last_look_timestamp_seconds > 0")
            yield Ringing(deployment, alerts)
        finally:
            await alerts.close()
            await asyncio.to_thread(prometheus.stop)


async def test_fleet_that_is_well_then_nothing_rings(ringing: Ringing) -> None:
    await ringing.alerts.quiet()
    await asyncio.sleep(10)
    assert await ringing.alerts.ringing() == {}


async def test_gate_that_stands_still_then_timeouts_the_service_and_its_views_ring(ringing: Ringing) -> None:
    ringing.signal("risk", signal.SIGSTOP)
    try:
        assert await ringing.submit("while-it-stands") == 503
        await ringing.alerts.fires("VerdictTimeouts", 30)
        await ringing.alerts.fires("ServiceDown", 60, service="risk")
        await ringing.alerts.fires("ViewsStale", 60, writer="risk.gate")
    finally:
        ringing.signal("risk", signal.SIGCONT)
    await ringing.alerts.ends("ServiceDown")
    await ringing.alerts.ends("ViewsStale")
    await ringing.alerts.ends("VerdictTimeouts")


async def test_feed_that_stands_still_then_the_lag_of_the_watermark_rings(ringing: Ringing) -> None:
    await ringing.alerts.scraped("tidemark_signals_watermark_lag_seconds < 5")
    ringing.signal("ingest", signal.SIGSTOP)
    try:
        await ringing.alerts.fires("WatermarkLag", 60, partition="0")
    finally:
        ringing.signal("ingest", signal.SIGCONT)
    await ringing.alerts.ends("WatermarkLag")


async def test_auditor_that_stands_still_then_its_silence_rings(ringing: Ringing) -> None:
    ringing.signal("auditor", signal.SIGSTOP)
    try:
        await ringing.alerts.fires("AuditSilent", 60)
    finally:
        ringing.signal("auditor", signal.SIGCONT)
    await ringing.alerts.ends("AuditSilent")


async def test_postgres_that_turns_away_everybody_then_reads_ring_and_the_auditor_says_that_it_cannot_look(
    ringing: Ringing,
) -> None:
    dsn = ringing.deployment.addresses.postgres_dsn
    administration = await asyncpg.connect(dsn)
    name = await administration.fetchval("SELECT current_database()")
    try:
        await administration.execute("UPDATE pg_database SET datallowconn = false WHERE datname = $1", name)
        await administration.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = $1",
            name,
        )
        await ringing.alerts.fires("StoreUnreadable", 60, store="postgres")
        await ringing.alerts.fires("ProjectionBehind", 60)
        assert "VerdictTimeouts" not in await ringing.alerts.ringing()
    finally:
        await administration.execute("UPDATE pg_database SET datallowconn = true WHERE datname = $1", name)
        await administration.close()
    await ringing.alerts.ends("StoreUnreadable")
    await ringing.alerts.ends("ProjectionBehind")


async def test_redis_that_is_full_then_it_and_stale_views_ring(ringing: Ringing) -> None:
    async with Redis.from_url(ringing.deployment.addresses.redis_url) as redis:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "1")
        try:
            await ringing.alerts.fires("RedisRefuses", 60, state="full")
            await ringing.alerts.fires("ViewsStale", 60)
        finally:
            await redis.config_set("maxmemory", "0")
    await ringing.alerts.ends("RedisRefuses")
    await ringing.alerts.ends("ViewsStale")


async def test_row_that_was_edited_then_the_divergence_rings(ringing: Ringing) -> None:
    connection = await asyncpg.connect(ringing.deployment.addresses.postgres_dsn)
    change = "UPDATE balances SET amount = amount + {by} WHERE account_id = $1 AND book = 'AVAILABLE'"
    try:
        await connection.execute(change.format(by=1), ACCOUNT)
        await ringing.alerts.fires("LedgerDivergence", 30, store="postgres")
        await connection.execute(change.format(by=-1), ACCOUNT)
        await ringing.alerts.ends("LedgerDivergence")
    finally:
        await connection.close()


async def test_store_that_cannot_be_opened_then_the_partition_that_is_given_up_rings(ringing: Ringing) -> None:
    store = Path(ringing.deployment.addresses.data_dir) / "signals" / "market" / "0" / "store"
    ringing.signal("signals", signal.SIGSTOP)
    store.rename(store.with_name("away"))
    store.write_text("a file in the store's place")
    ringing.signal("signals", signal.SIGKILL)
    try:
        await ringing.alerts.fires("PartitionGivenUp", 60, app="signals", stage="market", partition="0")
    finally:
        store.unlink()
        store.with_name("away").rename(store)
    await ringing.alerts.ends("PartitionGivenUp")


async def test_transaction_that_somebody_leaves_open_then_who_waits_for_it_rings(ringing: Ringing) -> None:
    bootstrap = ringing.deployment.addresses.kafka_bootstrap
    stranger = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id="somebody-elses-job", transaction_timeout_ms=600_000
    )
    async with stranger:
        await stranger.begin_transaction()
        await stranger.send_and_wait(ORDERS_INTENTS.name, b"{}", ACCOUNT.encode(), partition=0)
        try:
            await ringing.alerts.fires("ReaderBlocked", 60, reader="risk.gate", topic=ORDERS_INTENTS.name)
            async with httpx.AsyncClient(base_url=ringing.deployment.url("risk")) as http:
                page = await http.get("/health/ready")
            assert page.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert "transactional id somebody-elses-job" in page.text
        finally:
            await stranger.abort_transaction()
    await ringing.alerts.ends("ReaderBlocked")


async def test_intent_of_a_schema_that_nobody_has_then_it_rings_until_it_is_had_and_the_intent_is_decided(
    ringing: Ringing,
) -> None:
    schema = {**by_name()["order-intent.v1.avsc"].schema(), "unit": "of a later release"}
    intent = OrderIntent(
        account_id=ACCOUNT,
        client_order_id="of-a-later-release",
        symbol="CEFI",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        qty=1,
        sent_ns=time.time_ns(),
    )
    later = AvroFraming("order-intent", 2, OrderIntent, Schemas(), (schema, LATER_ID))
    value = later.framed(ORDERS_INTENTS.schema.encode(intent))
    at = ringing.deployment.addresses
    number = partition_of(ACCOUNT.encode(), ORDERS_INTENTS.partitions)
    async with AIOKafkaProducer(bootstrap_servers=at.kafka_bootstrap) as producer:
        await producer.send_and_wait(ORDERS_INTENTS.name, value, ACCOUNT.encode(), partition=number)
    await ringing.alerts.fires("SchemaUnknown", 60, reader="risk.gate", topic=ORDERS_INTENTS.name)
    async with httpx.AsyncClient(base_url=ringing.deployment.url("risk")) as http:
        page = await http.get("/health/ready")
    assert page.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert f"schema {LATER_ID}: not on file" in page.text
    had = Path(at.data_dir) / CACHE / f"{LATER_ID}.avsc"
    had.parent.mkdir(exist_ok=True)
    had.write_text(json.dumps(schema), "utf-8")
    settings = Settings(kafka=KafkaSettings(bootstrap=at.kafka_bootstrap))
    async with asyncio.timeout(30), CommittedReader(settings, [RISK_DECISIONS], from_beginning=True) as reader:
        async for messages in reader.batches():
            decisions = [message.body for message in messages if isinstance(message.body, Decision)]
            if any(decision.client_order_id == intent.client_order_id for decision in decisions):
                break
    await ringing.alerts.ends("SchemaUnknown")


async def test_changelog_that_deletes_then_it_rings_and_a_stage_that_starts_on_it_is_refused(ringing: Ringing) -> None:
    changelog = SIGNALS_MARKET_CHANGELOG.name
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=ringing.deployment.addresses.kafka_bootstrap)), "test-alerts")
    await log.start()
    try:
        await log.set_topics({changelog: {"cleanup.policy": "delete"}})
        await ringing.alerts.fires("TopicDrift", 30, topic=changelog, setting="cleanup.policy")
        ringing.signal("signals", signal.SIGKILL)
        await ringing.alerts.fires("StageRefused", 60, app="signals", stage="market")
    finally:
        await log.set_topics({changelog: {"cleanup.policy": "compact"}})
        await log.stop()
    await ringing.alerts.ends("TopicDrift")
    await ringing.alerts.ends("StageRefused")


async def test_stranger_in_a_group_then_it_rings_and_again_where_it_leads_the_group(ringing: Ringing) -> None:
    stranger = AIOKafkaConsumer(
        MD_TICKS.name,
        bootstrap_servers=ringing.deployment.addresses.kafka_bootstrap,
        group_id="signals.market",
        partition_assignment_strategy=(RangePartitionAssignor,),  # another could not join
        enable_auto_commit=False,
    )
    async with stranger:
        await ringing.alerts.fires("GroupStrangers", 60, app="signals", stage="market")
        ringing.signal("signals", signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                while not stranger.assignment():  # it leads once the worker's session has ended
                    await asyncio.sleep(0.2)
        finally:
            ringing.signal("signals", signal.SIGCONT)
        await ringing.alerts.fires("GroupTrouble", 60, app="signals", stage="market")
    await ringing.alerts.ends("GroupTrouble")
    await ringing.alerts.ends("GroupStrangers")


async def test_poison_then_the_dead_letter_rings(ringing: Ringing) -> None:
    await ringing.produce(ORDERS_INTENTS, b"not an intent")
    await ringing.alerts.fires("DeadLetters", 30, topic=ORDERS_INTENTS.name)


def report(order_id: str, execution_id: str) -> bytes:
    """A trade of ten shares."""
    said = ExecutionReport(
        execution_id=execution_id,
        exec_type=ExecType.TRADE,
        order_id=order_id,
        account_id=ACCOUNT,
        symbol="ACME",
        side=Side.BUY,
        last_qty=10,
        last_price_e4=10_000,
        cum_qty=10,
        venue_ns=time.time_ns(),
    )
    return ORDERS_EXECUTIONS.schema.encode(said)


async def test_trade_that_the_books_refuse_then_the_break_rings(ringing: Ringing) -> None:
    await ringing.submit("known")
    await ringing.produce(ORDERS_EXECUTIONS, report(f"{ACCOUNT}.known", "over-1"))
    await ringing.alerts.fires("BreaksOpen", 60)


async def test_trade_that_the_gate_never_takes_then_it_rings_as_overdue(ringing: Ringing) -> None:
    ringing.signal("risk", signal.SIGSTOP)
    try:
        await ringing.produce(ORDERS_EXECUTIONS, report(f"{ACCOUNT}.known", "lost-1"))
        await ringing.alerts.fires("FillsOverdue", FILL_MAX_S + 30)
    finally:
        ringing.signal("risk", signal.SIGCONT)
    await ringing.alerts.ends("FillsOverdue")


def forged(account: str, seq: int, *amounts: int) -> bytes:
    """An entry of the ledger that no gate wrote."""
    books = (Book.EXTERNAL, Book.AVAILABLE)
    legs = tuple(Posting(book=book, asset=CASH, amount=a) for book, a in zip(books, amounts, strict=False))
    return RISK_LEDGER.schema.encode(
        LedgerEntry(account_id=account, seq=seq, kind=EntryKind.FUND, postings=legs, booked_ns=1)
    )


async def test_ledger_that_contradicts_itself_then_it_rings(ringing: Ringing) -> None:
    """Last: what stands in the log stays there."""
    await ringing.produce(RISK_LEDGER, forged("stranger", 7, -5, 5))
    await ringing.alerts.fires("SequenceErrors", 30)
    await ringing.alerts.fires("GateFenced", 30, app="risk", stage="gate")
    assert await ringing.submit("while-it-is-fenced") == 503
    await ringing.produce(RISK_LEDGER, forged("other", 1, -5))
    await ringing.alerts.fires("LedgerSum", 30)
