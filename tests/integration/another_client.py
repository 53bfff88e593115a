"""Reads topics as another team does: with Confluent's consumer, and its deserialiser beside the registry."""

import time
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from parts import Stack

WITHIN_S: Final = 60.0


def read_by_another_client(both: Stack, topics: list[str], count: int) -> dict[str, list[tuple[bytes, Any]]]:
    """Keys and values of committed records, by topic, as Confluent's consumer and deserialiser have them."""
    read = AvroDeserializer(SchemaRegistryClient({"url": both.schema_registry_url}))
    found: dict[str, list[tuple[bytes, Any]]] = {name: [] for name in topics}
    consumer = Consumer(
        {
            "bootstrap.servers": both.kafka_bootstrap,
            "group.id": f"strangers-{topics[0]}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    deadline = time.monotonic() + WITHIN_S
    try:
        consumer.assign([TopicPartition(name, 0, OFFSET_BEGINNING) for name in topics])
        while sum(map(len, found.values())) < count and time.monotonic() < deadline:
            record = consumer.poll(0.5)
            if record is not None and record.error() is None:
                context = SerializationContext(record.topic(), MessageField.VALUE)
                found[record.topic()].append((record.key(), read(record.value(), context)))
    finally:
        consumer.close()
    return found
