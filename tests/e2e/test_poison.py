"""Garbage on every topic that a stage reads: set aside with its place, counted, and nobody beside it is harmed."""

import asyncio
import time
from dataclasses import replace

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from common.contracts import topics
from common.contracts.topics import STAGE_INPUTS, Topic
from streams.edges.reader import CommittedReader
from streams.model.message import Message
from streams.process.settings import Settings
from tidemark import metrics
from tidemark.deployment import Deployment
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
POISON = b"\xff not a message of this topic"
"""Behind a zero byte it would name a schema that nobody has, and wait for it."""
READ_BY_STAGES = tuple(topic for topic in STAGE_INPUTS if topic is not topics.REF_INSTRUMENTS)
WAIT_S = 60.0


async def dead_letters(settings: Settings, wanted: set[str]) -> dict[str, Message]:
    """The first dead letter of each topic in ``wanted``."""
    queues = [replace(topic, name=topic.dead_letters) for topic in STAGE_INPUTS if topic.name in wanted]
    found: dict[str, Message] = {}
    async with asyncio.timeout(WAIT_S), CommittedReader(settings, queues, from_beginning=True) as reader:
        async for messages in reader.batches():
            for message in messages:
                found.setdefault((dict(message.headers)["dlq.topic"] or b"").decode(), message)
            if wanted <= found.keys():
                return found
    raise AssertionError("the reader ended")


async def put_poison(bootstrap: str, topic: Topic) -> None:
    """Only a foreign producer can write what is no message: the runtime's own refuses to encode it."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic.name, POISON, b"poison", partition=0)


async def test_poison_when_on_every_input_topic_then_set_aside_counted_and_the_fleet_goes_on(
    deployment: Deployment, settings: Settings
) -> None:
    for topic in READ_BY_STAGES:
        await put_poison(settings.kafka.bootstrap, topic)
    found = await dead_letters(settings, {topic.name for topic in READ_BY_STAGES})
    for topic in READ_BY_STAGES:
        dead = found[topic.name]
        headers = dict(dead.headers)
        assert (dead.key, dead.value) == (b"poison", POISON)
        assert headers["dlq.partition"] == b"0"
        assert (headers["dlq.offset"] or b"").isdigit()
        assert headers["dlq.error"] and headers["dlq.stage"]
    await counted(deployment, {topic.name for topic in READ_BY_STAGES})
    await trade(deployment)


async def counted(deployment: Deployment, wanted: set[str]) -> None:
    """Every topic's dead letter is in the metrics of the service that reads it."""
    urls = {name: deployment.url(name) for name in deployment.fleet.names}
    until = time.monotonic() + WAIT_S
    while True:
        pages = await metrics.scrape(urls)
        missing = {
            topic for topic in wanted
            if not sum(metrics.total(page, "tidemark_dead_letters_total", topic=topic) for page in pages.values())
        }  # fmt: skip
        if not missing:
            return
        assert time.monotonic() < until, f"never counted: {missing}"
        await asyncio.sleep(0.2)


async def trade(deployment: Deployment) -> None:
    """An order on the poisoned partitions is still gated, and answered."""
    async with HttpGateway(deployment.url("orders")) as gateway:
        accounts: dict[str, list[str]] = {f"POISON{n}": [] for n in range(8)}
        await open_accounts(gateway, accounts)
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as client:
        for account in accounts:
            body = {
                "account_id": account, "client_order_id": "after-poison", "symbol": "NOSUCH", "side": "B",
                "order_type": "LIMIT", "qty": 1, "limit_price_e4": 10_000,
            }  # fmt: skip
            answer = await client.post("/v1/orders", json=body)
            assert answer.status_code == 422
            assert answer.json()["reason"] == "INSTRUMENT_UNKNOWN"
