"""``tidemark stage`` and ``tidemark dlq`` on a real broker: looked at, compared, moved, discarded, sent once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from common.contracts.topics import DEAD_LETTERS, RUNTIME_OPERATIONS, STAGES, Topic
from common.fleet_topics import create_topics
from common.testing import accidents, counting_worker
from parts import Stack
from streams.kafka.kafka_log import KafkaLog
from streams.model.dead_letters import DeadLetter, letter_record
from streams.model.errors import LogError, Refused
from streams.model.framing import Framing
from streams.model.log import Partition, Record
from streams.model.message import Message
from streams.opening.beginning import shut_out
from streams.process.settings import KafkaSettings, Settings
from streams.stage.runner import StageRunner
from streams.stage.task import Task
from streams.state.store import RocksStore, destroy, row_key
from streams.testing.memory_log import MemoryLog
from tidemark.beginnings import begin_anew, plan_beginning
from tidemark.commands.stage import in_words, said_of_partitions
from tidemark.console import CommandError
from tidemark.dead_letters import KeptLetter, kept_letter, send
from tidemark.operations import done_before
from tidemark.stages import StageName, discard_store, gathered, plan, seek, verify

WITHIN_S = 30.0


class World:
    """The counting stage, of one partition that is served, and the topics of the commands."""

    def __init__(self, log: KafkaLog, bootstrap: str, prefix: str, data: Path) -> None:
        self.log = log
        self.bootstrap = bootstrap
        self.data = data
        self.operations = replace(RUNTIME_OPERATIONS, name=f"{prefix}.operations")
        self.register = replace(STAGES, name=f"{prefix}.stages")
        self.stage = replace(counting_worker.counting_stage(prefix), register=self.register)
        self.topics = counting_worker.topics(prefix)
        self.name = StageName(self.stage.full_name, self.topics["changelog"])
        self.every = [*self.topics.values(), self.operations, self.register]

    async def feed(self, *bodies: bytes) -> None:
        producer = await self.log.fence(f"{self.stage.app}.feeder")
        await producer.begin()
        await producer.append(Partition(self.topics["input"].name, 0), [Record(b"key", body, 0) for body in bodies])
        await producer.commit()
        await producer.close()

    async def serve(self, position: int) -> None:
        """Until the input's position is reached. Raises what ends the task."""
        task = Task(self.stage, 0, self.log, Settings(data_dir=self.data), {})
        running = asyncio.create_task(task.run())
        try:
            async with asyncio.timeout(WITHIN_S):
                while task.progress.state != "running" or task.positions.get(self.topics["input"].name, 0) < position:
                    if running.done():
                        running.result()
                    await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def said(self) -> list[bytes | None]:
        return [message.value for message in await self.committed(self.topics["output"])]

    async def letters(self) -> list[KeptLetter]:
        queue = replace(self.topics["dead"], schema=DEAD_LETTERS)
        return [kept_letter(message) for message in await self.committed(queue)]

    async def committed(self, topic: Topic) -> Sequence[Message]:
        where = Partition(topic.name, 0)
        end, found = await self.log.last_stable_offset(where), []
        reader = await self.log.read(where, await self.log.low_watermark(where))
        while reader.position < end:
            read = await reader.poll(50)
            found += [Message(topic, 0, r.offset, r.key, r.value, r.timestamp, r.headers) for r in read]
        await reader.close()
        return found


@pytest.fixture
async def world(stack: Stack, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), prefix)
    await log.start()
    world = World(log, stack.kafka_bootstrap, prefix, tmp_path)
    await create_topics(stack.kafka_bootstrap, world.every)
    yield world
    await log.stop()


async def test_show_and_verify_when_a_stage_has_worked_then_log_store_and_lag_and_no_difference(world: World) -> None:
    await world.feed(b"1", b"2")
    await world.serve(2)
    await world.feed(b"3")
    (state,) = await gathered(world.log, world.name, [0], world.data)
    source = world.topics["input"].name
    assert state.identity == await world.log.identity(world.topics["changelog"].name)
    assert (state.positions, state.rows) == ({source: 2}, 1)
    assert state.lag[source] == 3, "the feeder's marker, a record and a marker"
    assert state.store is not None and 0 < state.store <= state.end
    assert state.landmark
    assert state.layout == "1"
    assert await verify(world.log, world.name, 0, world.data) == []


async def test_verify_when_a_row_of_the_store_is_wrong_then_it_is_named_and_reset_makes_it_right(world: World) -> None:
    await world.feed(b"1", b"2")
    await world.serve(2)
    store = RocksStore(world.name.store_path(world.data, 0))
    store.write([(row_key("accounts", b"key"), b"999")], store.changelog_offset())
    with pytest.raises(CommandError, match="stop the worker first"):
        await discard_store(world.log, world.name, 0, world.data, "", world.operations)
    store.close()
    (wrong,) = await verify(world.log, world.name, 0, world.data)
    assert "999" in wrong
    await discard_store(world.log, world.name, 0, world.data, "a wrong row", world.operations)
    await world.feed(b"3")
    await world.serve(4)
    assert (await world.said())[-1] == b"3 3"
    assert await verify(world.log, world.name, 0, world.data) == []
    (done,) = (await done_before(world.log, world.operations)).values()
    assert (done.what, done.reason) == ("store discarded", "a wrong row")


async def test_seek_when_it_goes_back_and_forward_then_said_before_and_done(world: World) -> None:
    source = world.topics["input"].name
    await world.feed(b"1", b"2", b"3")
    await world.serve(3)
    back = await plan(world.log, world.name, 0, source, 1)
    assert "BACK from 3 to 1: up to 2 messages are handled once more" in back.meaning()
    await seek(world.log, world.name, back, "again", world.operations)
    await world.serve(3)
    assert await world.said() == [b"1 1", b"2 2", b"3 3", b"2 4", b"3 5"]
    await world.feed(b"4", b"5")
    forward = await plan(world.log, world.name, 0, source, 5)
    assert "FORWARD from 3 to 5: up to 2 messages are never handled" in forward.meaning()
    await seek(world.log, world.name, forward, "skip", world.operations)
    await world.serve(6)
    assert (await world.said())[-1] == b"5 6"
    assert [done.what for done in (await done_before(world.log, world.operations)).values()] == ["position moved"] * 2
    with pytest.raises(CommandError, match="none of them"):
        await plan(world.log, world.name, 0, source, 99)
    with pytest.raises(CommandError, match="does not read"):
        await plan(world.log, world.name, 0, "nothing.of-its", 0)


async def test_begin_when_the_changelog_lost_rows_then_it_goes_on_where_it_was_and_nothing_is_handled_twice(
    world: World,
) -> None:
    changelog, source = world.topics["changelog"], world.topics["input"].name
    inputs = {world.name.full: (world.topics["input"],)}
    await world.feed(b"1", b"2")
    await world.serve(2)
    with pytest.raises(CommandError, match="may be the only copy"):
        await plan_beginning(world.log, world.name, 0, world.data, inputs)
    destroy(world.name.store_path(world.data, 0))
    with pytest.raises(CommandError, match="has its beginning"):
        await plan_beginning(world.log, world.name, 0, world.data, inputs)
    end = await world.log.high_watermark(Partition(changelog.name, 0))
    await accidents.trim(world.bootstrap, world.log, changelog, 0, end - 2)
    with pytest.raises(Refused, match="rows between the two are lost") as refused:
        await world.serve(3)
    assert refused.value.remedy == "begin"
    plan = await plan_beginning(world.log, world.name, 0, world.data, inputs)
    said = " ".join(plan.meaning)
    assert "begins without rows: all that it knew is lost" in said and f"{source}/0 is read on from 2" in said
    await begin_anew(world.log, plan, "trimmed by mistake", world.operations, world.register)
    await world.feed(b"3")
    await world.serve(4)
    assert await world.said() == [b"1 1", b"2 2", b"3 1"], "counted anew, and none of them twice"
    destroy(world.name.store_path(world.data, 0))
    await world.feed(b"4")
    await world.serve(6)
    assert (await world.said())[-1] == b"4 2", "another empty disk is filled from there, too"
    (done,) = (await done_before(world.log, world.operations)).values()
    assert (done.what, done.reason) == ("begun anew", "trimmed by mistake")


async def test_begin_when_a_worker_has_written_since_it_was_planned_then_nothing_is_done(world: World) -> None:
    """A worker that stood still, out of its group, may wake up; shut out, it cannot write, whoever the log names."""
    changelog = Partition(world.topics["changelog"].name, 0)
    inputs = {world.name.full: (world.topics["input"],)}
    await world.feed(b"1", b"2")
    await world.serve(2)
    destroy(world.name.store_path(world.data, 0))
    zombie = await world.log.fence(f"{world.name.full}.worker.asleep", [changelog])
    await accidents.trim(world.bootstrap, world.log, world.topics["changelog"], 0, 1)
    before = await plan_beginning(world.log, world.name, 0, world.data, inputs)
    await zombie.begin()
    await zombie.append(changelog, [Record(b"@position/none", b"1", 0)])
    await zombie.commit()
    with pytest.raises(CommandError, match=r"has grown from .* a worker writes to it\. Nothing was changed"):
        await begin_anew(world.log, before, "", world.operations, world.register)
    assert await done_before(world.log, world.operations) == {}
    await shut_out(world.log, world.name.full, changelog)
    after = await plan_beginning(world.log, world.name, 0, world.data, inputs)
    await zombie.begin()
    with pytest.raises(LogError):
        await zombie.append(changelog, [Record(b"@position/none", b"2", 0)])
        await zombie.commit()
    await begin_anew(world.log, after, "", world.operations, world.register)


async def test_begin_when_the_changelog_was_created_anew_then_the_inputs_ends_are_said_and_read_from(
    world: World,
) -> None:
    inputs = {world.name.full: (world.topics["input"],)}
    await world.feed(b"1")
    await world.serve(1)
    await world.feed(b"never handled")
    await accidents.recreate(world.bootstrap, world.log, world.topics["changelog"])
    destroy(world.name.store_path(world.data, 0))
    with pytest.raises(Refused, match="has worked on") as refused:
        await world.serve(2)
    assert refused.value.remedy == "begin"
    plan = await plan_beginning(world.log, world.name, 0, world.data, inputs)
    assert "is read from its end, 4: what was not handled before is never handled" in " ".join(plan.meaning)
    await begin_anew(world.log, plan, "", world.operations, world.register)
    await world.feed(b"3")
    await world.serve(5)
    assert await world.said() == [b"1 1", b"3 1"]


@pytest.mark.parametrize("framing", [DEAD_LETTERS.framing, None], ids=["avro", "text"])
async def test_dead_letter_when_sent_then_once_to_its_partition_and_a_second_time_is_refused(
    world: World, framing: Framing | None
) -> None:
    await world.feed(b"1")
    await world.serve(1)
    producer = await world.log.fence("stage.that.failed")
    said = DeadLetter(stage="s", topic=world.topics["input"].name, partition=0, offset=0, error="e", value=b"again")
    record = letter_record(said, b"key", 0, [("traceparent", b"kept")], framing)
    await producer.begin()
    await producer.append(Partition(world.topics["dead"].name, 0), [record])
    await producer.commit()
    await producer.close()
    (letter,) = await world.letters()
    offset = await send(world.log, letter, "mended", world.operations)
    with pytest.raises(CommandError, match="was done already: sent by"):
        await send(world.log, letter, "once more", world.operations)
    await world.serve(offset + 1)
    assert await world.said() == [b"1 1", b"again 2"]
    (back,) = [message for message in await world.committed(world.topics["input"]) if message.offset == offset]
    assert dict(back.headers) == {"traceparent": b"kept", "dlq.sent-from": letter.name.encode()}


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"partitions": {"1": {"state": "running", "done": 3}}}, "running"),
        ({"partitions": {"1": {"state": "refused", "reason": "lost rows"}}}, "lost rows"),
        ({"partitions": {}, "given_up": {"1": "the disk is full"}}, "given up: the disk is full"),
        (
            {"partitions": {"1": {"state": "waiting", "reason": "no space"}}, "given_up": {"1": "the disk is full"}},
            "no space; given up: the disk is full",
        ),
        ({}, ""),
    ],
)
def test_show_says_what_a_worker_says_of_a_partition_and_why_it_gave_it_up(detail: dict[str, Any], words: str) -> None:
    page = {"ready": False, "checks": {"stage count": {"ready": False, "detail": detail}}}
    assert in_words(said_of_partitions(page, "stage count").get("1", {})) == words


def test_refusals_name_the_command_that_helps(world_stage: StageRunner) -> None:
    said = world_stage._remedy(Refused("records expired unread", "seek orders.intents"), 3)
    assert said == "see `tidemark stage seek test.count orders.intents --partition 3`"
    assert world_stage._remedy(Refused("another log"), 3) == "see `tidemark stage show test.count`"
    said = world_stage._remedy(Refused("rows are lost", "begin"), 3)
    assert said == "see `tidemark stage begin test.count --partition 3`"


@pytest.fixture
def world_stage() -> StageRunner:
    stage = counting_worker.counting_stage("test")
    topics = [*stage.inputs, *stage.outputs, stage.changelog]
    return StageRunner(stage, Settings(), MemoryLog({topic.name: 1 for topic in topics}), {})
