"""A fleet that writes Avro beside a registry: another team's client reads all of it, and the audit finds it equal."""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from common.contracts.topics import (
    MD_BARS,
    MD_BOOKS,
    MD_MARKS,
    ORDERS_EVENTS,
    ORDERS_INTENTS,
    REF_INSTRUMENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
    Topic,
)
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.services import FLEET
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ORDERS = 12
READ_WITHIN_S = 60
READ = (
    MD_BARS,
    MD_BOOKS,
    MD_MARKS,
    REF_INSTRUMENTS,
    RISK_COMMANDS,
    ORDERS_INTENTS,
    RISK_DECISIONS,
    RISK_LEDGER,
    ORDERS_EVENTS,
)


async def values_of(bootstrap: str, topic: Topic, least: int) -> Sequence[tuple[bytes, bytes]]:
    """Committed keys and values, as any client has them."""
    found: list[tuple[bytes, bytes]] = []
    consumer = AIOKafkaConsumer(
        topic.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    deadline = time.monotonic() + READ_WITHIN_S
    async with consumer:
        while len(found) < least and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.key, record.value) for record in records if record.value is not None]
    assert len(found) >= least, f"{topic.name} has {len(found)} of {least} records after {READ_WITHIN_S} s"
    return found


async def trade(deployment: Deployment) -> list[str]:
    """Orders that the gate decides on; their ids."""
    async with HttpGateway(deployment.url("orders")) as gateway:
        await open_accounts(gateway, {"avro": ()})
    order: dict[str, Any] = {"account_id": "avro", "symbol": "CEFI", "side": "B", "order_type": "MARKET", "qty": 1}
    ids = [uuid.uuid4().hex[:16] for _ in range(ORDERS)]
    async with httpx.AsyncClient(base_url=deployment.url("orders"), timeout=30) as http:
        for client_order_id in ids:
            body = order | {"client_order_id": client_order_id, "time_in_force": "IOC"}
            assert (await http.post("/v1/orders", json=body)).status_code < 500
    return ids


async def test_fleet_that_writes_avro_then_another_client_reads_every_topic_and_the_audit_is_equal(
    tmp_path: Path,
) -> None:
    feed = synthetic_feed(seed=5, rate_per_s=300, symbols=20)
    options = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, services=FLEET, registry=True)
    async with Deployment(StateDir(tmp_path / "fleet"), options) as deployment:
        ids = await trade(deployment)
        read = AvroDeserializer(SchemaRegistryClient({"url": deployment.registry_url}))
        decided: set[str] = set()
        for topic in READ:
            least = ORDERS if topic in (ORDERS_INTENTS, RISK_DECISIONS) else 1
            rows = await values_of(deployment.addresses.kafka_bootstrap, topic, least)
            found = [(key, read(value, SerializationContext(topic.name, MessageField.VALUE))) for key, value in rows]
            if topic is RISK_DECISIONS:
                decided = {row["client_order_id"] for _, row in found if "client_order_id" in row}
            if topic in (MD_BARS, MD_BOOKS):
                assert all(key.decode() == row["symbol"] for key, row in found)
        assert set(ids) <= decided
        command = [sys.executable, "-P", "-m", "tidemark.main", "audit", "--state-dir", str(tmp_path / "fleet")]
        audit = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert audit.returncode == 0, audit.stdout + audit.stderr
