"""An operator's changes of topics are refused, on a real broker: trimmed, created again, mirrored, written anew."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from common.fleet_topics import create_topics
from common.testing import accidents
from parts import Stack
from streams.kafka.kafka_log import KafkaLog
from streams.model.declaration import Stage
from streams.model.errors import Refused
from streams.model.log import Partition, Record, StoredRecord
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.settings import BatchSettings, KafkaSettings, Settings
from streams.stage.runner import StageRunner
from streams.stage.task import Task
from streams.state.store import RocksStore, positions_of

PARTITIONS = 2
WITHIN_S = 30.0


@dataclass
class World:
    """A counting stage with topics of its own on the broker, and a client that writes and meddles."""

    bootstrap: str
    log: KafkaLog
    prefix: str

    def __post_init__(self) -> None:
        self.input, self.output = self._topic("input"), self._topic("output")
        self.changelog = replace(self._topic("count.changelog"), cleanup="compact")
        self.register = replace(self._topic("stages"), partitions=1)

    def _topic(self, name: str) -> Topic:
        return Topic(f"{self.prefix}.{name}", "account", RAW_SCHEMA, "test", partitions=PARTITIONS)

    def stage(self, **more: Any) -> Stage:
        def count(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
            accounts = tables.changelogged("accounts")
            assert message.key is not None
            number = (accounts.get(message.key) or 0) + 1
            accounts.put(message.key, number)
            yield Output(self.output, message.key, b"%d" % number, message.partition)

        table = Changelogged("accounts", Codec(lambda number: b"%d" % number, int))
        stage = Stage(self.prefix, "count", count, (self.input,), (self.output,), self.changelog, (table,))
        missing = frozenset({self.input.dead_letters})
        return replace(stage, register=self.register, missing=missing, **more)

    async def create(self, *topics: Topic) -> None:
        await create_topics(self.bootstrap, topics)

    async def feed(self, count: int, partition: int = 0, topic: Topic | None = None) -> None:
        """One transaction for each message."""
        producer = await self.log.fence(f"{self.prefix}.feeder")
        for number in range(count):
            await producer.begin()
            record = Record(b"account-%d" % (number % 3), b"%d" % number, 0)
            await producer.append(Partition((topic or self.input).name, partition), [record])
            await producer.commit()
        await producer.close()

    async def serve(self, path: Path, wanted: int, **more: Any) -> None:
        """Runs a task of partition 0 until ``wanted`` outputs are committed. Raises what ends the task."""
        task = Task(self.stage(**more), 0, self.log, Settings(data_dir=path, batch=BatchSettings(messages_max=4)), {})
        running = asyncio.create_task(task.run())
        try:
            async with asyncio.timeout(WITHIN_S):
                while not running.done() and len(await self.outputs()) < wanted:
                    await asyncio.sleep(0.02)
                if running.done():
                    await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def outputs(self) -> Sequence[StoredRecord]:
        return await self.committed(Partition(self.output.name, 0))

    async def committed(self, partition: Partition) -> Sequence[StoredRecord]:
        """Everything that can be read now."""
        end, begin = await self.log.last_stable_offset(partition), await self.log.low_watermark(partition)
        reader = await self.log.read(partition, begin)
        found: list[StoredRecord] = []
        while reader.position < end:
            found += await reader.poll(50)
        await reader.close()
        return found

    async def trim(self, topic: Topic, back: int) -> None:
        """All but the last ``back`` offsets go."""
        end = await self.log.high_watermark(Partition(topic.name, 0))
        await accidents.trim(self.bootstrap, self.log, topic, 0, end - back)

    async def recreate(self, topic: Topic) -> None:
        await accidents.recreate(self.bootstrap, self.log, topic)


@pytest.fixture
async def world(stack: Stack) -> AsyncIterator[World]:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test-identity")
    await log.start()
    world = World(stack.kafka_bootstrap, log, f"identity.{uuid.uuid4().hex[:10]}")
    await world.create(world.input, world.output, world.changelog, world.register)
    yield world
    await log.stop()


async def test_changelog_when_its_beginning_is_lost_then_an_empty_disk_is_refused(world: World, tmp_path: Path) -> None:
    await world.feed(10)
    await world.serve(tmp_path / "old", 10)
    await world.trim(world.changelog, 6)
    rows = [row.offset for row in await world.committed(Partition(world.changelog.name, 0))]
    await world.feed(1)
    with pytest.raises(Refused, match=r"rows between the two are lost"):
        await world.serve(tmp_path / "new", 11)
    assert len(await world.outputs()) == 10
    after = [row.offset for row in await world.committed(Partition(world.changelog.name, 0))]
    assert after == rows, "no claim, nothing is written"


async def test_changelog_when_trimmed_behind_a_store_that_has_it_all_then_it_is_served(
    world: World, tmp_path: Path
) -> None:
    await world.feed(10)
    await world.serve(tmp_path, 10)
    await world.trim(world.changelog, 2)
    await world.feed(2)
    await world.serve(tmp_path, 12)


async def test_changelog_when_created_again_then_neither_a_store_nor_an_empty_disk_begins_anew(
    world: World, tmp_path: Path
) -> None:
    await world.feed(10)
    await world.serve(tmp_path / "old", 10)
    await world.recreate(world.changelog)
    with pytest.raises(Refused, match=r"it is another log"):
        await world.serve(tmp_path / "old", 11)
    with pytest.raises(Refused, match=r"is empty, and .* has worked on"):
        await world.serve(tmp_path / "new", 11)
    assert len(await world.outputs()) == 10


async def test_changelog_when_created_again_under_its_owner_then_what_it_wrote_there_is_not_believed(
    world: World, tmp_path: Path
) -> None:
    await world.feed(10)

    async def meddle() -> None:
        while len(await world.outputs()) < 10:
            await asyncio.sleep(0.05)
        await world.recreate(world.changelog)
        await world.feed(1)

    with pytest.raises(Refused, match=r"has new rows before|it is another log"):
        await asyncio.gather(world.serve(tmp_path / "old", 99), meddle())
    with pytest.raises(Refused, match=r"it is another log|it lost rows before|has worked on"):
        await world.serve(tmp_path / "new", 99)
    assert len(await world.outputs()) <= 11


async def test_input_when_created_again_while_it_is_read_then_nothing_of_it_is_handled(
    world: World, tmp_path: Path
) -> None:
    await world.feed(10)

    async def meddle() -> None:
        while len(await world.outputs()) < 10:
            await asyncio.sleep(0.05)
        await world.recreate(world.input)
        await world.feed(40)

    with pytest.raises(Refused, match=r"deleted and created again|it is another log|was deleted"):
        await asyncio.gather(world.serve(tmp_path, 11), meddle())
    with pytest.raises(Refused, match=r"it is another log") as refused:
        await world.serve(tmp_path, 11)
    assert refused.value.remedy == f"seek {world.input.name}"
    assert len(await world.outputs()) == 10


async def test_input_when_records_expired_unread_then_it_is_refused(world: World, tmp_path: Path) -> None:
    await world.feed(4)
    await world.serve(tmp_path, 4)
    await world.feed(4)
    await world.trim(world.input, 2)
    with pytest.raises(Refused, match=r"records expired unread"):
        await world.serve(tmp_path, 8)


async def test_mirror_when_a_changelog_was_copied_to_another_topic_then_its_positions_are_not_taken(
    world: World, tmp_path: Path
) -> None:
    await world.feed(6)
    await world.serve(tmp_path / "source", 6)
    mirror = World(world.bootstrap, world.log, f"{world.prefix}-mirror")
    await mirror.create(mirror.input, mirror.output, mirror.changelog, mirror.register)
    rows = await world.committed(Partition(world.changelog.name, 0))
    producer = await world.log.fence(f"{world.prefix}.mirror")
    await producer.begin()
    position = f"@position/{world.input.name}".encode()
    renamed = {position: f"@position/{mirror.input.name}".encode()}
    records = [Record(renamed.get(row.key or b"", row.key), row.value, 0) for row in rows]
    await producer.append(Partition(mirror.changelog.name, 0), records)
    await producer.commit()
    await producer.close()
    with pytest.raises(Refused, match=r"it is another log|it lost rows before"):
        await mirror.serve(tmp_path / "mirror", 1)


async def test_changelog_when_it_lost_its_end_and_grew_past_it_then_an_older_store_is_refused(
    world: World, tmp_path: Path
) -> None:
    await world.feed(8)
    await world.serve(tmp_path, 8)
    store = RocksStore(tmp_path / world.prefix / "count" / "0" / "store")
    rows = {key: value for key, value in store.prefix(b"") if not key.startswith(b"@")}
    position = store.changelog_offset()
    # What stands at the landmark now was another row when the store was written.
    landmark = store.get(b"@landmark")
    assert landmark is not None
    offset, epoch, _checksum, key = landmark.split(b" ", 3)
    store.write([(b"@landmark", b"%b %b 1 %b" % (offset, epoch, key))], position)
    store.close()
    assert rows
    with pytest.raises(Refused, match=r"it was written anew"):
        await world.serve(tmp_path, 9)


async def test_output_when_it_does_not_end_where_the_state_does_then_nothing_is_written(
    world: World, tmp_path: Path
) -> None:
    def continues(tables: Tables, last: StoredRecord | None) -> None:
        numbers = [number for _, number in tables.changelogged("accounts").prefix(b"")]
        if (int(last.value or b"0") if last else 0) not in (*numbers, 0) or bool(last) != bool(numbers):
            raise ValueError("the accounts say otherwise")

    await world.feed(5)
    await world.serve(tmp_path / "old", 5, continues={world.output: continues})
    await world.feed(1)
    await world.serve(tmp_path / "old", 6, continues={world.output: continues})
    # A store and a changelog that are sound, and older than the output: the stage's own register is cut off with them.
    await world.recreate(world.changelog)
    await world.recreate(world.register)
    with pytest.raises(Refused, match=r"does not end where the state .* does: the accounts say otherwise"):
        await world.serve(tmp_path / "new", 7, continues={world.output: continues})
    assert len(await world.outputs()) == 6


async def test_partition_when_it_is_refused_then_others_are_served_and_the_page_says_why(
    world: World, tmp_path: Path
) -> None:
    await world.feed(4)
    await world.serve(tmp_path / "old", 4)
    await world.trim(world.changelog, 2)
    await world.feed(1, partition=0)
    await world.feed(3, partition=1)
    runner = StageRunner(world.stage(), Settings(data_dir=tmp_path / "new"), world.log, {})
    await runner.serve(frozenset({0, 1}))
    try:
        async with asyncio.timeout(WITHIN_S):
            while (await world.committed(Partition(world.output.name, 1)))[2:] == []:
                await asyncio.sleep(0.05)
            while runner.tasks[0].progress.state != "refused":
                await asyncio.sleep(0.05)
        page = runner.tasks[0].progress.page()
        assert page["state"] == "refused" and "begins at" in page["reason"]
        assert runner.tasks[1].progress.state == "running"
        assert len(await world.outputs()) == 4
    finally:
        await runner.close()


async def test_position_rows_are_written_with_the_first_commit_for_every_input(world: World, tmp_path: Path) -> None:
    await world.feed(2)
    await world.serve(tmp_path, 2)
    store = RocksStore(tmp_path / world.prefix / "count" / "0" / "store")
    assert positions_of(store) == {world.input.name: 3}, "message, marker, message"
    assert store.get(b"@log/" + world.input.name.encode()) == (await world.log.identity(world.input.name)).encode()
    store.close()
