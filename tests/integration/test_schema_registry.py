"""Avro records on a real broker beside a real registry: pushed ids, other clients, evolution, and what has to wait."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from common.avro.codec import AvroFraming
from common.avro.on_file import by_id, read_index, subject_of
from common.avro.registry import CACHE, Schemas
from common.contracts.events import OrderIntent
from common.contracts.topics import DEAD_LETTERS, MD_BARS, MD_BOOKS, ORDERS_INTENTS, TOPICS
from common.contracts.values import OrderType, Side
from common.fleet_topics import create_topics
from fastavro.schema import to_parsing_canonical_form
from parts import LocalStack, Stack
from prometheus_client import REGISTRY
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.model.declaration import Stage
from streams.model.framing import frame, schema_id_of
from streams.model.message import Message, Output
from streams.model.tables import Tables
from streams.model.topics import RAW_SCHEMA, Schema, Topic, changelog_topic
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from streams.stage.runner import StageService
from tidemark.commands.schemas import schemas
from typer.testing import CliRunner

from tests.integration.another_client import read_by_another_client
from tests.integration.avro_examples import EXAMPLES, INTENTS, NewerIntent, changed, newer_schema, next_version

pytestmark = pytest.mark.slow
WITHIN_S = 60.0
NEWER_ID = 0x7EED0001
SYMBOLS = [b"CEFI", b"BIDE", b"ZICA"]
CONFLUENT = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    with LocalStack({"kafka", "registry"}) as running:
        yield running


@pytest.fixture(scope="module")
def both(parts: LocalStack) -> Stack:
    """Broker and registry, the schemas on file pushed."""
    result = RUNNER.invoke(schemas, ["push", "--registry", parts.addresses.schema_registry_url])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == len(read_index())
    return parts.addresses


def intent(number: int = 1) -> OrderIntent:
    return OrderIntent(
        account_id="roll-1",
        client_order_id=f"o-{number}",
        symbol="CEFI",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        qty=number,
        limit_price_e4=400_000,
        sent_ns=17,
    )


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.05)
    assert condition(), what


def topic_of(name: str, schema: Schema = ORDERS_INTENTS.schema) -> Topic:
    return Topic(name, "account_id", schema, partitions=1)


def register(url: str, subject: str, schema: Any) -> httpx.Response:
    body = json.dumps({"schema": json.dumps(schema), "schemaType": "AVRO"})
    return httpx.post(f"{url}/subjects/{subject}/versions", content=body, headers=CONFLUENT)


class Copying:
    """A stage that copies intents, in one release or another, and what is around it."""

    def __init__(self, both: Stack, prefix: str, path: Path) -> None:
        self.both, self.prefix, self.path = both, prefix, path
        self.source, self.target = topic_of(f"{prefix}.input"), topic_of(f"{prefix}.output")
        self.changelog = changelog_topic(prefix, "copy", 1)

    async def create(self) -> None:
        dead = self.source.dead_letter_topic
        await create_topics(self.both.kafka_bootstrap, [self.source, self.target, self.changelog, dead])

    def settings(self, log_format: str = "avro", registry: str | None = None) -> Settings:
        return Settings(
            kafka=KafkaSettings(bootstrap=self.both.kafka_bootstrap),
            schema_registry_url=self.both.schema_registry_url if registry is None else registry,
            log_format=log_format,
            data_dir=self.path,
            worker_id="one",
            redis=RedisSettings(url=""),
        )

    @asynccontextmanager
    async def stage(
        self,
        schema: Schema = ORDERS_INTENTS.schema,
        handle: Callable[[Message, Tables, int], Iterator[Output]] | None = None,
        targets: tuple[Topic, ...] = (),
        **settings: str,
    ) -> AsyncIterator[StageService]:
        """Stage of the release whose intents have this schema; with a handler it writes what that says, not copies."""
        source, target = topic_of(self.source.name, schema), topic_of(self.target.name, schema)

        def copy(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
            assert message.key is not None
            yield Output(target, message.key, message.body, 0)

        stage = Stage(self.prefix, "copy", handle or copy, (source,), targets or (target,), self.changelog)
        service = StageService(stage, self.settings(**settings), None)
        try:
            await service.start()
            yield service
        finally:
            await service.stop()

    @asynccontextmanager
    async def sender(self, **settings: str) -> AsyncIterator[Sender]:
        sender = Sender(self.settings(**settings), "test")
        await sender.start()
        try:
            yield sender
        finally:
            await sender.stop()

    async def send(self, *bodies: Any, schema: Schema = ORDERS_INTENTS.schema, **settings: str) -> None:
        async with self.sender(**settings) as sender:
            for body in bodies:
                await sender.send(topic_of(self.source.name, schema), b"roll-1", body, partition=0)

    async def raw(self, topic: Topic, count: int) -> list[bytes]:
        """The first values of a topic, as they stand in the log."""
        found: list[bytes] = []
        raw = Topic(topic.name, partitions=1, schema=RAW_SCHEMA)
        async with CommittedReader(self.settings(), [raw], from_beginning=True) as reader:
            async with asyncio.timeout(WITHIN_S):
                async for messages in reader.batches():
                    found += [message.value or b"" for message in messages]
                    if len(found) >= count:
                        return found
        return found


@pytest.fixture
async def copying(both: Stack, prefix: str, tmp_path: Path) -> Copying:
    copying = Copying(both, prefix, tmp_path)
    await copying.create()
    return copying


def given(value: Any) -> Any:
    """The value without what JSON leaves out."""
    if isinstance(value, dict):
        return {name: given(each) for name, each in value.items() if each is not None}
    return [given(each) for each in value] if isinstance(value, list) else value


def waits(service: StageService) -> dict[str, str]:
    blocked: dict[str, str] = service.ready()[1]["blocked"]
    return blocked


# --- the registry -----------------------------------------------------------------------------------------------------


def test_push_when_done_again_then_nothing_new_and_every_id_is_the_one_on_file(both: Stack) -> None:
    url = both.schema_registry_url
    again = RUNNER.invoke(schemas, ["push", "--registry", url])
    assert (again.exit_code, again.stdout) == (0, "")
    listed = RUNNER.invoke(schemas, ["list", "--json", "--registry", url])
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {row["id"] for row in rows if row["registered"]} == by_id().keys()
    for file in read_index():
        registered = json.loads(httpx.get(f"{url}/schemas/ids/{file.id}").json()["schema"])
        assert to_parsing_canonical_form(registered) == to_parsing_canonical_form(file.schema())


def test_incompatible_schema_when_pushed_then_the_registry_refuses_and_a_compatible_one_is_taken(both: Stack) -> None:
    def required(fields: dict[str, Any]) -> None:
        fields["@"].append({"name": "desk", "type": "string"})

    def stop(fields: dict[str, Any]) -> None:
        fields["order_type"]["type"]["symbols"].append("STOP")

    for change in (required, stop):
        refused = register(both.schema_registry_url, subject_of(ORDERS_INTENTS.name), changed(change))
        assert refused.status_code == httpx.codes.CONFLICT, refused.text
    taken = register(both.schema_registry_url, subject_of(ORDERS_INTENTS.name), next_version())
    assert taken.is_success
    assert taken.json()["id"] > 0x544DFFFF, "an id that the registry gives must not be one of ours"


async def test_every_topic_when_a_stage_writes_avro_then_another_client_reads_it_and_packed_rows_by_symbol(
    copying: Copying,
) -> None:
    bodies: dict[str, Any] = {}
    wanted: dict[str, list[tuple[bytes, dict[str, Any]]]] = {}
    targets: dict[str, Topic] = {}
    for topic in TOPICS:
        framing = topic.schema.framing
        if not isinstance(framing, AvroFraming):
            continue
        targets[topic.name] = topic_of(f"{copying.prefix}.{topic.name}", topic.schema)
        if topic.schema.model is None:
            rows = np.ones(len(SYMBOLS) if framing.packed else 1, framing.message)
            rows["symbol"] = SYMBOLS[: len(rows)]
            bodies[topic.name] = rows
            keys = SYMBOLS if framing.packed else [b"key"]
            wanted[topic.name] = [
                (key, {"symbol": symbol.decode(), "instrument_id": 1})
                for key, symbol in zip(keys, SYMBOLS, strict=False)
            ]
        else:
            bodies[topic.name] = topic.schema.decode(EXAMPLES[topic.name])
            wanted[topic.name] = [(b"key", json.loads(EXAMPLES[topic.name]))]
    packed = {topic.name for topic in (MD_BARS, MD_BOOKS)}
    assert all(len(wanted[name]) == len(SYMBOLS) for name in packed)

    def handle(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        for name, target in targets.items():
            yield Output(target, b"key", bodies[name], 0)

    await create_topics(copying.both.kafka_bootstrap, list(targets.values()))
    async with copying.stage(handle=handle, targets=tuple(targets.values())):
        await copying.send(intent(1))
        names = [copying.source.name, *(target.name for target in targets.values())]
        count = 1 + sum(map(len, wanted.values()))
        found = await asyncio.to_thread(read_by_another_client, copying.both, names, count)
    assert [(key, value["qty"]) for key, value in found[copying.source.name]] == [(b"roll-1", 1)]
    for name, target in targets.items():
        read = [(key, given(value)) for key, value in found[target.name]]
        assert [key for key, _ in read] == [key for key, _ in wanted[name]], name
        for (_, value), (_, fields) in zip(read, wanted[name], strict=True):
            assert {field: value.get(field) for field in fields} == fields, name


# --- both forms, and evolution ----------------------------------------------------------------------------------------


async def test_stage_when_json_and_avro_come_mixed_then_both_are_handled_and_written_as_it_is_told(
    copying: Copying,
) -> None:
    await copying.send(intent(1), log_format="json")
    await copying.send(intent(2), log_format="avro")
    async with copying.stage(log_format="avro"):
        written = await copying.raw(copying.target, 2)
    assert [schema_id_of(value) for value in written] == [INTENTS.id] * 2
    await copying.send(intent(3), log_format="avro")
    async with copying.stage(log_format="json"):
        written = await copying.raw(copying.target, 3)
    assert written[2] == ORDERS_INTENTS.schema.encode(intent(3))
    assert [ORDERS_INTENTS.schema.decode(value) for value in written] == [intent(number) for number in (1, 2, 3)]


async def test_next_version_beside_the_old_one_then_either_reads_the_other_without_a_restart(copying: Copying) -> None:
    given = register(copying.both.schema_registry_url, subject_of(ORDERS_INTENTS.name), next_version()).json()["id"]
    newer = newer_schema(given)
    value = NewerIntent(**intent(1).model_dump(exclude={"time_in_force"}), desk="A7", time_in_force="ATC")
    async with copying.stage() as old:
        await copying.send(value, schema=newer)
        await copying.send(intent(2))
        written = await copying.raw(copying.target, 2)
        assert waits(old) == {}
    assert [ORDERS_INTENTS.schema.decode(each) for each in written] == [intent(1), intent(2)]
    async with copying.stage(newer):
        await copying.send(intent(3))
        await copying.send(value, schema=newer)
        written = await copying.raw(copying.target, 4)
    third, fourth = (newer.decode(each) for each in written[2:])
    assert (third.client_order_id, third.desk, third.time_in_force) == ("o-3", None, "DAY")
    assert fourth == value
    assert await copying.raw(copying.source, 4)
    async with CommittedReader(copying.settings(), [copying.source.dead_letter_topic], from_beginning=True) as reader:
        assert [messages async for messages in reader.batches_until(await reader.ends())] == []


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_id_that_nobody_knows_then_the_partition_waits_and_says_so_and_goes_on_once_it_is_known(
    copying: Copying,
) -> None:
    url = copying.both.schema_registry_url
    schema = changed(
        lambda fields: fields["@"].append({"name": copying.prefix.replace("-", "_"), "type": "long", "default": 7})
    )
    unknown = AvroFraming("order-intent", 2, OrderIntent, Schemas(), (schema, NEWER_ID))
    async with copying.stage(registry="") as service:
        await copying.send(intent(1))
        await copying.send(frame(NEWER_ID, unknown.framed(ORDERS_INTENTS.schema.encode(intent(2)))[5:]))
        await copying.send(intent(3))
        await copying.raw(copying.target, 1)
        await until(lambda: bool(waits(service)), "it is not said what it waits for")
        (said,) = waits(service).values()
        assert said.startswith(f"schema {NEWER_ID}: not on file")
        assert not service.ready()[0]
        labels = {"app": copying.prefix, "reader": f"{copying.prefix}.copy", "topic": copying.source.name}
        metric = "tidemark_schema_awaited_seconds"
        await until(lambda: REGISTRY.get_sample_value(metric, labels | {"partition": "0"}) is not None, "no metric")
        assert len(await copying.raw(copying.target, 1)) == 1
        # It is had: as a registry's answer would be kept.
        (copying.path / CACHE).mkdir(exist_ok=True)
        (copying.path / CACHE / f"{NEWER_ID}.avsc").write_text(json.dumps(schema))
        written = await copying.raw(copying.target, 3)
        await until(lambda: service.ready()[0], "not ready again")
        await until(lambda: REGISTRY.get_sample_value(metric, labels | {"partition": "0"}) is None, "still awaited")
    assert [ORDERS_INTENTS.schema.decode(value).qty for value in written] == [1, 2, 3]
    assert url


async def test_registry_that_is_away_then_what_was_learnt_is_read_at_the_next_start_and_the_rest_waits_for_it(
    parts: LocalStack, copying: Copying
) -> None:
    url = copying.both.schema_registry_url
    optional = {"type": ["null", "long"], "default": None}
    schemas_of = [INTENTS.schema(), INTENTS.schema()]
    schemas_of[0]["fields"].append({"name": "first"} | optional)
    schemas_of[1]["fields"] += [{"name": "first"} | optional, {"name": "second"} | optional]
    given = [register(url, f"{copying.prefix}-value", schema).json()["id"] for schema in schemas_of]
    values = [
        AvroFraming("order-intent", 2, OrderIntent, Schemas(), (schema, schema_id)).framed(
            ORDERS_INTENTS.schema.encode(intent(number))
        )
        for number, (schema, schema_id) in enumerate(zip(schemas_of, given, strict=True), 1)
    ]
    async with copying.stage():
        await copying.send(values[0])
        await copying.raw(copying.target, 1)
    assert (copying.path / CACHE / f"{given[0]}.avsc").exists()
    parts.kill("registry")
    learnt = copying.source.schema.framing
    assert isinstance(learnt, AvroFraming)
    anew = AvroFraming(learnt.name, learnt.version, learnt.message, Schemas())  # a process that has just begun
    schema = Schema("order-intent", ORDERS_INTENTS.schema.decode, ORDERS_INTENTS.schema.encode, framing=anew)
    try:
        async with copying.stage(schema) as service:
            await copying.send(values[0], values[1])
            assert len(await copying.raw(copying.target, 2)) == 2
            await until(lambda: bool(waits(service)), "it is not said what it waits for")
            (said,) = waits(service).values()
            assert f"the registry {url} does not answer" in said
            await asyncio.to_thread(parts.restart, "registry")
            written = await copying.raw(copying.target, 3)
    finally:
        await asyncio.to_thread(parts.restart, "registry")
    assert [ORDERS_INTENTS.schema.decode(value).qty for value in written] == [1, 1, 2]


async def test_record_that_only_a_newer_release_can_read_then_it_waits_and_that_release_handles_it(
    copying: Copying,
) -> None:
    def stop(fields: dict[str, Any]) -> None:
        fields["order_type"]["type"]["symbols"].append("STOP")

    schema = changed(stop)
    given = register(copying.both.schema_registry_url, f"{copying.prefix}-value", schema).json()["id"]
    newer = AvroFraming("order-intent", 2, OrderIntent, Schemas(), (schema, given))
    text = ORDERS_INTENTS.schema.encode(intent(1)).replace(b'"LIMIT"', b'"STOP"')
    async with copying.stage() as service:
        await copying.send(newer.framed(text))
        await until(lambda: bool(waits(service)), "it is not said what it waits for")
        assert "says what this release cannot read" in next(iter(waits(service).values()))
    raw = Schema("order-intent", bytes, bytes, framing=newer)
    async with copying.stage(raw, log_format="json"):
        assert await copying.raw(copying.target, 1) == [text]


async def test_damaged_avro_then_it_is_set_aside_as_it_was_and_its_neighbours_are_handled(copying: Copying) -> None:
    damaged = frame(INTENTS.id, b"\xff" * 12)
    async with copying.stage():
        await copying.send(intent(1), damaged, intent(2))
        written = await copying.raw(copying.target, 2)
        (dead,) = await copying.raw(copying.source.dead_letter_topic, 1)
    assert [ORDERS_INTENTS.schema.decode(value).qty for value in written] == [1, 2]
    assert DEAD_LETTERS.decode(dead).value == damaged
    queue = copying.source.dead_letters
    found = await asyncio.to_thread(read_by_another_client, copying.both, [queue], 1)
    ((key, read),) = found[queue]
    assert (key, read["topic"], read["value"]) == (b"roll-1", copying.source.name, damaged)
