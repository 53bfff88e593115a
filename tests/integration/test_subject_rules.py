"""A real registry holds every subject to the rule that the topic table names, and refuses by it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from common.avro.on_file import by_name, read_index, subject_of
from common.contracts.topics import MD_EVENTS, ORDERS_INTENTS, TOPICS, with_dead_letters
from parts import LocalStack
from tidemark.schema_registry import JSON, Registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """With the schemas on file."""
    with LocalStack({"registry"}) as running:
        made = Registry(running.addresses.schema_registry_url)
        assert list(made.push(read_index())) == list(read_index())
        yield made


def register(registry: Registry, subject: str, schema: Any) -> int:
    """The answer's status."""
    body = json.dumps({"schema": json.dumps(schema), "schemaType": "AVRO"})
    url = f"{registry.url}/subjects/{subject}/versions"
    return httpx.post(url, content=body, headers={"Content-Type": JSON}).status_code


def with_symbol(schema: Any, field: str, symbol: str) -> Any:
    for each in schema["fields"]:
        if each["name"] == field:
            each["type"]["symbols"].append(symbol)
    return schema


def test_subjects_when_pushed_then_each_is_held_to_the_rule_of_the_topic_table(registry: Registry) -> None:
    held = {file.subject: registry.compatibility(file.subject) for file in read_index()}
    table = {subject_of(topic.name): topic.compatibility for topic in with_dead_letters(TOPICS)}
    assert held == {subject: table[subject] for subject in held}
    assert set(held.values()) == {"FULL_TRANSITIVE", "BACKWARD_TRANSITIVE"}


def test_rule_when_it_was_another_then_the_next_push_sets_it_right(registry: Registry) -> None:
    subject = subject_of(MD_EVENTS.name)
    url = f"{registry.url}/config/{subject}"
    body = json.dumps({"compatibility": "NONE"})
    assert httpx.put(url, content=body, headers={"Content-Type": JSON}).is_success
    assert registry.compatibility(subject) == "NONE"
    assert list(registry.push(read_index())) == []
    assert registry.compatibility(subject) == MD_EVENTS.compatibility


def test_schema_when_old_records_are_lost_then_refused_and_when_only_old_readers_are_then_by_the_rule(
    registry: Registry,
) -> None:
    event, intent = (by_name()[name].schema() for name in ("market-event.v1.avsc", "order-intent.v1.avsc"))
    events, intents = subject_of(MD_EVENTS.name), subject_of(ORDERS_INTENTS.name)
    required = event | {"fields": [*event["fields"], {"name": "desk", "type": "string"}]}
    assert register(registry, events, required) == httpx.codes.CONFLICT
    assert register(registry, intents, with_symbol(intent, "order_type", "STOP")) == httpx.codes.CONFLICT
    assert register(registry, events, with_symbol(event, "kind", "AUCTION")) == httpx.codes.OK
