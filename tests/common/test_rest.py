"""A stage that nobody waits for rests after its commits: in virtual time, on a log in memory with slow commits."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from common.testing.simulation.clock import run
from streams.commit.lane import Lane
from streams.commit.transaction import Note
from streams.model.declaration import Stage
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import Tables
from streams.process.settings import BatchSettings, Settings
from streams.stage.task import Task
from streams.testing.memory_clients import MemoryProducer
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

INPUT = Topic("test.input", "account", RAW_SCHEMA, "test", partitions=1)
OUTPUT = Topic("test.output", "account", RAW_SCHEMA, "test", partitions=1)
CHANGELOG = Topic("test.say.changelog", "table/key", RAW_SCHEMA, "test", partitions=1)
COMMIT_S = 0.01
MESSAGES = 1_000
SPACING_S = 0.001
BATCH_MAX = 100


def say(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    assert message.key is not None
    yield Output(OUTPUT, message.key, message.body)


STAGE = Stage("test", "say", say, (INPUT,), (OUTPUT,), CHANGELOG)


class SlowProducer(MemoryProducer):
    commits = 0

    async def commit(self) -> Mapping[Partition, int]:
        await asyncio.sleep(COMMIT_S)
        self.commits += 1
        return await super().commit()


class SlowLog(MemoryLog):
    """A commit takes ``COMMIT_S``."""

    producer: SlowProducer

    def fence_now(self, transactional_id: str, writes: Collection[Partition] = ()) -> MemoryProducer:
        made = super().fence_now(transactional_id, writes)
        self.producer = SlowProducer(self, made._identity, made._epoch)
        return self.producer


async def handled(rest: float, spacing_s: float, path: Path) -> tuple[int, float]:
    """Commits of a stage that is fed ``MESSAGES``, and the seconds until it has said something to all of them."""
    log = SlowLog(dict.fromkeys([INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name], 1))
    settings = Settings(data_dir=path, batch=BatchSettings(messages_max=BATCH_MAX))
    store = MemoryStore()
    task = Task(replace(STAGE, rest=rest), 0, log, settings, {}, open_store=lambda _path: store)
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(task.run())
    began_s = loop.time()
    for number in range(MESSAGES):
        log.put(Partition(INPUT.name, 0), Record(b"k", b"%d" % number, 0))
        if spacing_s:
            await asyncio.sleep(spacing_s)
    while len(log.committed_in(OUTPUT.name, 0)) < MESSAGES:
        await asyncio.sleep(SPACING_S)
    took_s = loop.time() - began_s
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return log.producer.commits, took_s


@pytest.mark.parametrize("rest", [1.0, 3.0])
def test_stage_with_rest_when_messages_drip_then_commits_are_so_much_rarer(tmp_path: Path, rest: float) -> None:
    restless, _ = run(handled(0.0, SPACING_S, tmp_path / "restless"))
    rested, _ = run(handled(rest, SPACING_S, tmp_path / "rested"))
    assert restless / rested == pytest.approx(1 + rest, rel=0.1)


def test_stage_with_rest_when_it_is_behind_then_it_does_not_rest(tmp_path: Path) -> None:
    _, restless_s = run(handled(0.0, 0.0, tmp_path / "restless"))
    _, rested_s = run(handled(3.0, 0.0, tmp_path / "rested"))
    # It rests before the last batch at most: then nothing more waits than one can take.
    assert rested_s <= restless_s + 2 * 3.0 * COMMIT_S


def test_claim_of_a_partition_when_the_stage_rests_then_it_is_written_at_once() -> None:
    async def claims() -> float:
        log = SlowLog({CHANGELOG.name: 1})
        settings = Settings()
        lane = Lane("test.say.0", log, settings, list, lambda _: None, shared=True, rest=9.0)
        session = await lane.enter()
        began_s = asyncio.get_running_loop().time()
        for _ in range(3):
            await session.write(Note(Partition(CHANGELOG.name, 0), [(b"owner", b"me")]))
        took_s = asyncio.get_running_loop().time() - began_s
        await lane.exit(session)
        return took_s

    assert run(claims()) == pytest.approx(3 * COMMIT_S)
