"""The stage on a log in memory, crashes in the input list: whatever dies, outputs are those of one undisturbed run."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from common.columns import Column, OutputColumns
from common.contracts.topics import RAW_SCHEMA, Topic
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from streams.model.blocks import Answers
from streams.model.declaration import Stage
from streams.model.errors import Fatal, Fenced, Refused, Retriable
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, SnapshotLayout, Snapshotted, Tables
from streams.process.settings import BatchSettings, Settings
from streams.stage.task import Task
from streams.state.store import positions_of, row_key
from streams.testing.memory_clients import MemoryProducer
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore
from streams.views.task import ViewClock

INPUT = Topic("test.input", "account", RAW_SCHEMA, "test", partitions=1)
OUTPUT = Topic("test.output", "account", RAW_SCHEMA, "test", partitions=1)
CHANGELOG = Topic("test.count.changelog", "table/key", RAW_SCHEMA, "test", partitions=1)
STEPS = ("fence", "fenced", "high watermark", "begin", "append", "appended", "commit", "committed")
POISON = b"poison"
FAT = b"7" * 300
"""Sound, but what is said to it does not fit into the output topic."""
SET_ASIDE = (POISON, FAT)


class Killed(BaseException):
    """The process is gone; nothing it would do afterwards happens."""


class Killer:
    """Kills at the given occurrences of a step, counted over the whole history, and lets nothing pass until revived."""

    def __init__(self, kills: Iterable[int]) -> None:
        self._kills = set(kills)
        self._steps = itertools.count()
        self._dead = False

    def __call__(self, _step: str) -> None:
        if self._dead or next(self._steps) in self._kills:
            self._dead = True
            raise Killed

    def revive(self) -> None:
        self._dead = False


def count(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    """Numbers the messages of each account; refuses the poison one after it has written."""
    accounts = tables.changelogged("accounts")
    assert message.key is not None
    number = (accounts.get(message.key) or 0) + 1
    accounts.put(message.key, number)
    if message.value == POISON:
        raise ValueError("poison")
    yield Output(OUTPUT, message.key, b"%s %s %d" % (message.key, message.body, number))


def count_all(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    """Leaves every third stretch to the handler; raises in a stretch of its own where a message is poison."""
    for begin in range(0, len(batch), 2):
        stretch = batch[begin : begin + 2]
        if begin % 3 == 2:
            yield len(stretch)
            continue
        said = [output for message in stretch for output in count(message, tables, now_ns)]
        keys, values = (column([getattr(each, name) for each in said]) for name in ("key", "body"))
        yield Answers(len(stretch), [OutputColumns(OUTPUT, 0, np.arange(len(said)), keys, values)])


def column(pieces: Sequence[bytes]) -> Column:
    """The pieces one after the other."""
    ends = np.cumsum([0, *map(len, pieces)])
    return Column(np.frombuffer(b"".join(pieces), np.uint8), ends[:-1], ends[1:])


def counting_stage(batched: bool = False) -> Stage:
    table = Changelogged("accounts", Codec(lambda number: b"%d" % number, int))
    stage = Stage("test", "count", count, (INPUT,), (OUTPUT,), CHANGELOG, (table,))
    return replace(stage, batch_handler=count_all) if batched else stage


def fresh_log() -> MemoryLog:
    names = [INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name]
    log = MemoryLog(dict.fromkeys(names, 1))
    log.takes_bytes[OUTPUT.name] = 300
    return log


async def run_to_end(
    stage: Stage, log: MemoryLog, store: MemoryStore, path: Path, lost: Iterable[int] = (), batch_max: int = 3
) -> int:
    """Serves until every input record is handled, starting anew after each kill; returns how often it was killed.

    ``lost``: how many of the store's newest writes each kill loses.
    """
    settings = Settings(data_dir=path, batch=BatchSettings(messages_max=batch_max))
    losses, suspects, kills = iter(lost), set[tuple[str, int]](), 0
    while True:
        task = Task(stage, 0, log, settings, {}, open_store=lambda _path: store, suspects=suspects)
        running = asyncio.create_task(task.run())
        while not running.done() and not finished(task, log, store):
            await asyncio.sleep(0)
        error = running.exception() if running.done() else None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if error is None:
            return kills
        if isinstance(error, Killed):
            assert isinstance(log.at_step, Killer)
            log.at_step.revive()
            kills += 1
            store.crash(next(losses, 0))
        elif not isinstance(error, Retriable):
            raise error


def finished(task: Task, log: MemoryLog, store: MemoryStore) -> bool:
    """Whether the task serves and everything that was fed is in its store."""
    fed = len(log.committed(Partition(INPUT.name, 0)))
    return task.progress.state == "running" and positions_of(store).get(INPUT.name, 0) == fed


def outputs(log: MemoryLog, topic: str = OUTPUT.name) -> list[bytes | None]:
    return [record.value for record in log.committed(Partition(topic, 0))]


def fold(log: MemoryLog) -> dict[bytes, bytes]:
    """The changelog's newest value per key."""
    rows: dict[bytes, bytes] = {}
    for record in log.committed(Partition(CHANGELOG.name, 0)):
        assert record.key is not None and record.value is not None
        rows[record.key] = record.value
    return rows


def feed(log: MemoryLog, messages: Iterable[tuple[bytes, bytes]]) -> None:
    log.put(Partition(INPUT.name, 0), *(Record(key, value, 0) for key, value in messages))


def expected(messages: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """One sequential run of the same rule."""
    numbers: dict[bytes, int] = {}
    written = []
    for key, value in messages:
        if value not in SET_ASIDE:
            numbers[key] = numbers.get(key, 0) + 1
            written.append(b"%s %s %d" % (key, value, numbers[key]))
    return written


def messages_of(*values: bytes) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    return st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from(values)), max_size=12)


MESSAGES = messages_of(b"1", b"2", POISON, FAT)
SOUND_OR_POISON = messages_of(b"1", b"2", POISON)


@given(
    messages=MESSAGES,
    kills=st.sets(st.integers(0, 80), max_size=6),
    lost=st.lists(st.integers(0, 3), max_size=6),
    batch_max=st.integers(1, 5),
    batched=st.booleans(),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_stage_when_killed_anywhere_then_outputs_are_those_of_one_run(
    tmp_path_factory: pytest.TempPathFactory,
    messages: list[tuple[bytes, bytes]],
    kills: set[int],
    lost: list[int],
    batch_max: int,
    batched: bool,
) -> None:
    async def history() -> tuple[MemoryLog, MemoryStore]:
        log, store = fresh_log(), MemoryStore()
        feed(log, messages)
        log.at_step = Killer(kills)
        await run_to_end(counting_stage(batched), log, store, tmp_path_factory.getbasetemp(), lost, batch_max)
        return log, store

    log, store = asyncio.run(history())
    assert outputs(log) == expected(messages)
    assert outputs(log, INPUT.dead_letters) == [value for _, value in messages if value in SET_ASIDE]
    assert store.rows() == fold(log)


async def test_killer_when_aimed_at_every_step_in_turn_then_each_is_survived(tmp_path: Path) -> None:
    seen: list[str] = []
    log = fresh_log()
    feed(log, [(b"a", b"1")])
    log.at_step = seen.append
    await run_to_end(counting_stage(), log, MemoryStore(), tmp_path)
    assert set(STEPS) <= set(seen), "a numbered step of the commit or of opening is missing from the log's steps"
    for step in range(len(seen)):
        log = fresh_log()
        feed(log, [(b"a", b"1"), (b"a", b"2")])
        log.at_step = Killer({step})
        kills = await run_to_end(counting_stage(), log, MemoryStore(), tmp_path, lost=[1])
        assert kills == 1
        assert outputs(log) == [b"a 1 1", b"a 2 2"]


async def test_zombie_when_it_wakes_up_after_a_takeover_then_it_writes_nothing(tmp_path: Path) -> None:
    log = fresh_log()
    zombie = await log.fence("test.count.0")
    await zombie.begin()
    await zombie.append(Partition(OUTPUT.name, 0), [Record(b"a", b"from the zombie", 0)])
    feed(log, [(b"a", b"1")])
    await run_to_end(counting_stage(), log, MemoryStore(), tmp_path)
    with pytest.raises(Fenced):
        await zombie.commit()
    with pytest.raises(Fenced):
        await zombie.append(Partition(OUTPUT.name, 0), [Record(b"a", b"again", 0)])
    assert outputs(log) == [b"a 1 1"]


async def test_store_when_ahead_of_the_log_then_it_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    log, store = fresh_log(), MemoryStore()
    store.write([(row_key("accounts", b"a"), b"999")], 5_000)
    feed(log, [(b"a", b"1")])
    with pytest.raises(Refused, match="the store has it up to 5000"):
        await run_to_end(counting_stage(), log, store, tmp_path)
    assert outputs(log) == [] and fold(log) == {}, "nothing is written"
    assert store.rows() == {row_key("accounts", b"a"): b"999"}


async def test_poison_message_when_dead_lettered_then_it_carries_its_place_and_the_error(tmp_path: Path) -> None:
    log = fresh_log()
    feed(log, [(b"a", b"1"), (b"a", POISON), (b"a", b"2")])
    await run_to_end(counting_stage(), log, MemoryStore(), tmp_path)
    (dead,) = log.committed(Partition(INPUT.dead_letters, 0))
    headers = dict(dead.headers)
    assert (dead.key, dead.value) == (b"a", POISON)
    assert headers["dlq.topic"] == INPUT.name.encode()
    assert (headers["dlq.partition"], headers["dlq.offset"]) == (b"0", b"1")
    assert b"poison" in (headers["dlq.error"] or b"")
    assert outputs(log) == [b"a 1 1", b"a 2 2"]


class DamagedStore(MemoryStore):
    """A store whose rows cannot be read."""

    def get(self, key: bytes) -> bytes | None:
        raise OSError("block checksum mismatch")


async def test_store_when_it_cannot_be_read_then_the_task_ends_and_no_message_is_blamed(tmp_path: Path) -> None:
    log = fresh_log()
    log.put(Partition(INPUT.name, 0), Record(b"a", b"sound", 1))
    settings = Settings(data_dir=tmp_path)
    task = Task(counting_stage(), 0, log, settings, {}, open_store=lambda _path: DamagedStore())
    with pytest.raises(OSError, match="checksum"):
        await asyncio.wait_for(task.run(), 5)
    assert outputs(log, INPUT.dead_letters) == []
    assert outputs(log) == []


async def test_output_when_its_topic_was_not_declared_then_the_message_is_poison(tmp_path: Path) -> None:
    log = fresh_log()
    feed(log, [(b"a", b"1")])
    stage = Stage("test", "count", count, (INPUT,), (), CHANGELOG, counting_stage().tables)
    await run_to_end(stage, log, MemoryStore(), tmp_path)
    assert outputs(log) == []
    assert outputs(log, INPUT.dead_letters) == [b"1"]


async def test_restored_rows_when_they_break_an_invariant_then_the_stage_refuses_to_run(tmp_path: Path) -> None:
    def verify(key: bytes, number: int) -> None:
        assert (key, number) != (b"a", 1), "account a must not be 1"

    log = fresh_log()
    feed(log, [(b"a", b"1")])
    await run_to_end(counting_stage(), log, MemoryStore(), tmp_path)
    tables, verified = counting_stage().tables, {"accounts": verify}
    stage = Stage("test", "count", count, (INPUT,), (OUTPUT,), CHANGELOG, tables, verify=verified)
    feed(log, [(b"a", b"2")])
    with pytest.raises(Fatal, match="account a must not be 1"):
        await run_to_end(stage, log, MemoryStore(), tmp_path)


# --- snapshotted state ---------------------------------------------------------------------------------------------


def summing_stage() -> Stage:
    """Bulk state without undo: a running sum, saved after every batch."""

    def add(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        state: list[int] = tables.snapshotted("sum")
        if message.value == POISON:
            state[0] += 1_000_000  # half-done work that must not survive
            raise ValueError("poison")
        state[0] += int(message.body)
        yield Output(OUTPUT, message.key or b"", b"%d" % state[0])

    def save(state: list[int], path: Path) -> None:
        (path / "sum").write_text(str(state[0]))

    def load(path: Path, _layout: SnapshotLayout) -> list[int]:
        return [int((path / "sum").read_text())]

    table = Snapshotted("sum", lambda _partition: [0], save, load, interval_s=0.0)
    return Stage("test", "count", add, (INPUT,), (OUTPUT,), CHANGELOG, (table,))


@given(messages=SOUND_OR_POISON, kills=st.sets(st.integers(0, 60), max_size=4), batch_max=st.integers(1, 5))
@hypothesis_settings(max_examples=100, deadline=None)
def test_snapshotted_stage_when_killed_or_poisoned_then_replay_is_silent_and_equal(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[bytes, bytes]], kills: set[int], batch_max: int
) -> None:
    async def history() -> MemoryLog:
        log, path = fresh_log(), tmp_path_factory.mktemp("sum")
        feed(log, messages)
        log.at_step = Killer(kills)
        await run_to_end(summing_stage(), log, MemoryStore(), path, batch_max=batch_max)
        return log

    log = asyncio.run(history())
    sums = list(itertools.accumulate(int(value) for _, value in messages if value != POISON))
    assert outputs(log) == [b"%d" % value for value in sums]
    assert outputs(log, INPUT.dead_letters) == [value for _, value in messages if value == POISON]


async def test_snapshotted_stage_when_its_output_is_too_large_then_refused_and_nothing_is_set_aside(
    tmp_path: Path,
) -> None:
    log = fresh_log()
    log.takes_bytes[OUTPUT.name] = 80
    feed(log, [(b"a", b"1"), (b"a", b"1" + bytes(b"0" * 30))])
    with pytest.raises(Refused, match=r"test.output/0 takes no record batch of .* max.message.bytes"):
        await run_to_end(summing_stage(), log, MemoryStore(), tmp_path, batch_max=1)
    assert outputs(log) == [b"1"]
    assert outputs(log, INPUT.dead_letters) == []


async def test_views_of_a_task_when_it_is_idle_then_they_are_as_of_now_and_when_its_commit_hangs_as_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, now_ns, may_commit = fresh_log(), [1_000], asyncio.Event()
    may_commit.set()
    commit = MemoryProducer.commit

    async def commit_when_allowed(producer: MemoryProducer) -> Mapping[Partition, int]:
        await may_commit.wait()
        return await commit(producer)

    monkeypatch.setattr(MemoryProducer, "commit", commit_when_allowed)
    settings, store = Settings(data_dir=tmp_path), MemoryStore()
    task = Task(counting_stage(), 0, log, settings, {}, open_store=lambda _path: store, clock_ns=lambda: now_ns[0])
    running = asyncio.create_task(task.run())

    async def until_handled() -> None:
        async with asyncio.timeout(10):
            while not finished(task, log, store):
                await asyncio.sleep(0)

    log.put(Partition(INPUT.name, 0), Record(b"a", b"1", 7))
    await until_handled()
    assert task._clock.read(task._todo, task._inbox) == ViewClock(1_000, 7_000_000), "the data are of the newest record"
    now_ns[0] = 2_000
    assert task._clock.read(task._todo, task._inbox).as_of_ns == 2_000, (
        "nothing waits: what is committed is all there is"
    )
    may_commit.clear()
    log.put(Partition(INPUT.name, 0), Record(b"a", b"2", 9))
    for _ in range(100):
        await asyncio.sleep(0)
    now_ns[0] = 60_000_000_000
    assert task._clock.read(task._todo, task._inbox) == ViewClock(2_000, 7_000_000), (
        "a record is under way, and nobody knows for how long"
    )
    may_commit.set()
    await until_handled()
    assert task._clock.read(task._todo, task._inbox) == ViewClock(60_000_000_000, 9_000_000)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
