"""Records that a topic does not take, on a log in memory: rows, dead letters, what the runtime itself must write."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from common.contracts.topics import DEAD_LETTERS, RAW_SCHEMA, Topic
from streams.model.dead_letters import DeadLetter, letter_of
from streams.model.declaration import Stage
from streams.model.errors import Refused
from streams.model.framing import LogFormat
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.settings import BatchSettings, Settings
from streams.stage.task import Task
from streams.state.store import positions_of
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

INPUT = Topic("test.input", "account", replace(RAW_SCHEMA, letters=DEAD_LETTERS), "test", partitions=1)
OUTPUT = Topic("test.output", "account", RAW_SCHEMA, "test", partitions=1)
CHANGELOG = Topic("test.keep.changelog", "table/key", RAW_SCHEMA, "test", partitions=1)
TAKES_BYTES = 400
FAT = b"x" * TAKES_BYTES


def keep(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    """A row for every account: its newest message."""
    assert message.key is not None
    tables.changelogged("newest").put(message.key, message.body)
    yield Output(OUTPUT, message.key, message.body[:10])


STAGE = Stage("test", "keep", keep, (INPUT,), (OUTPUT,), CHANGELOG, (Changelogged("newest", Codec(bytes, bytes)),))


def fed(*bodies: bytes) -> MemoryLog:
    log = MemoryLog(dict.fromkeys([INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name], 1))
    log.put(Partition(INPUT.name, 0), *(Record(b"k%d" % n, body, 0) for n, body in enumerate(bodies)))
    return log


async def serve(log: MemoryLog, store: MemoryStore, path: Path, log_format: LogFormat = "json") -> Task:
    """Until all that was fed is handled. Raises what ends the task."""
    task = Task(
        STAGE,
        0,
        log,
        Settings(data_dir=path, batch=BatchSettings(messages_max=8), log_format=log_format),
        {},
        open_store=lambda _path: store,
    )
    running = asyncio.create_task(task.run())
    async with asyncio.timeout(10):
        while positions_of(store).get(INPUT.name, 0) < log.end_offset(Partition(INPUT.name, 0)):
            if running.done():
                running.result()
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return task


def values(log: MemoryLog, topic: str) -> list[bytes | None]:
    return [record.value for record in log.committed_in(topic, 0)]


async def test_row_when_the_changelog_does_not_take_it_then_its_message_alone_is_set_aside(tmp_path: Path) -> None:
    bodies = [b"%d" % n for n in range(6)]
    log, store = fed(*bodies[:3], FAT, *bodies[3:]), MemoryStore()
    log.takes_bytes[CHANGELOG.name] = TAKES_BYTES
    await serve(log, store, tmp_path)
    assert values(log, OUTPUT.name) == bodies
    assert values(log, INPUT.dead_letters) == [FAT]


@pytest.mark.parametrize("log_format", ["json", "avro"])
async def test_dead_letter_when_its_topic_does_not_take_it_then_it_goes_without_the_value(
    tmp_path: Path, log_format: LogFormat
) -> None:
    log, store = fed(b"1", FAT, b"2"), MemoryStore()
    log.takes_bytes = {CHANGELOG.name: TAKES_BYTES, INPUT.dead_letters: TAKES_BYTES + 50}
    await serve(log, store, tmp_path, log_format)
    assert values(log, OUTPUT.name) == [b"1", b"2"]
    (dead,) = log.committed_in(INPUT.dead_letters, 0)
    letter = letter_of(Message(INPUT.dead_letter_topic, 0, 0, dead.key, dead.value, 0, dead.headers))
    assert letter == DeadLetter(
        stage="test.keep", topic=INPUT.name, partition=0, offset=1, error=letter.error, left_out_bytes=400
    )
    assert "which takes none of" in letter.error


async def test_changelog_when_it_does_not_take_what_every_commit_writes_then_refused(tmp_path: Path) -> None:
    log = fed(b"1", b"2", b"3")
    log.takes_bytes[CHANGELOG.name] = 60
    with pytest.raises(Refused, match=r"cannot go on: .*max.message.bytes"):
        await serve(log, MemoryStore(), tmp_path)
    assert values(log, OUTPUT.name) == values(log, INPUT.dead_letters) == []


async def test_store_when_a_transaction_was_aborted_for_size_then_it_is_complete_behind_it(tmp_path: Path) -> None:
    log, store = fed(b"1", FAT, b"2"), MemoryStore()
    log.takes_bytes[CHANGELOG.name] = TAKES_BYTES
    await serve(log, store, tmp_path)
    assert store.changelog_offset() == log.end_offset(Partition(CHANGELOG.name, 0)) - 1, "all but the last marker"
