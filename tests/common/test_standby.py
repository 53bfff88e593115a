"""Warm standbys on a log in memory: they follow what is committed, end at any moment, and harm nobody."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from common.testing.simulation import clock
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.model.declaration import Stage
from streams.model.errors import Refused
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.opening.claims import OWNER_KEY, is_ownership
from streams.opening.restore import STORE_AGE_MAX_S
from streams.process import metrics
from streams.process.settings import BatchSettings, RestartSettings, Settings
from streams.stage.runner import StageRunner
from streams.stage.standby import Standby
from streams.stage.task import Task
from streams.state.store import RocksStore, Rows, Store, positions_of, row_key
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

PARTITIONS = 2
INPUT = Topic("followed.input", "account", RAW_SCHEMA, "test", partitions=PARTITIONS)
OUTPUT = Topic("followed.output", "account", RAW_SCHEMA, "test", partitions=PARTITIONS)
CHANGELOG = Topic("followed.count.changelog", "table/key", RAW_SCHEMA, "test", partitions=PARTITIONS)
FOLLOWED = Partition(CHANGELOG.name, 1)


def count(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    """Numbers the messages of each account; ``close`` deletes the account."""
    accounts = tables.changelogged("accounts")
    assert message.key is not None
    number = (accounts.get(message.key) or 0) + 1
    if message.value == b"close":
        accounts.delete(message.key)
    else:
        accounts.put(message.key, number)
    yield Output(OUTPUT, message.key, b"%s %d" % (message.body, number), message.partition)


def make_stage(**more: Any) -> Stage:
    table = Changelogged("accounts", Codec(lambda number: b"%d" % number, int))
    return Stage("followed", "count", count, (INPUT,), (OUTPUT,), CHANGELOG, (table,), **more)


def make_log() -> MemoryLog:
    return MemoryLog(dict.fromkeys([INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name], PARTITIONS))


def make_settings(path: Path, worker: str = "a") -> Settings:
    return Settings(
        data_dir=path,
        worker_id=worker,
        standbys=1,
        restart=RestartSettings(backoff_min_s=0.01),
        handover_wait_ms=0,
        batch=BatchSettings(messages_max=3),
    )


def fold(log: MemoryLog, partition: int = 1) -> dict[bytes, bytes]:
    """The changelog's newest value per key."""
    rows: dict[bytes, bytes] = {}
    for record in log.committed(Partition(CHANGELOG.name, partition)):
        assert record.key is not None
        if record.value is None:
            rows.pop(record.key, None)
        else:
            rows[record.key] = record.value
    return rows


def without_ownership(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in rows.items() if not is_ownership(key)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def serves(runner: StageRunner, partition: int) -> bool:
    return partition in runner.tasks and runner.tasks[partition].progress.state == "running"


class Running:
    """A standby of partition 1 as a process keeps it."""

    def __init__(self, log: MemoryLog, path: Path, open_store: Callable[[Path], Store], **more: Any) -> None:
        self.log = log
        self.standby = Standby(make_stage(**more), 1, log, make_settings(path), open_store)
        self._task = asyncio.create_task(self.standby.run())

    async def caught_up(self) -> None:
        """Until it has everything that can be read."""
        await until(lambda: self.standby.position >= self.log.stable_end(FOLLOWED))

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_standby_when_transactions_are_open_or_aborted_then_only_committed_rows_are_in_its_store(
    tmp_path: Path,
) -> None:
    log, store = make_log(), MemoryStore()
    writers = [await log.fence(name) for name in ("first", "aborting", "last")]
    for writer, rows in zip(writers, ([(b"t/a", b"1"), (b"t/b", b"1")], [(b"t/a", b"wrong")], []), strict=True):
        await writer.begin()
        if rows:
            await writer.append(FOLLOWED, [Record(key, value, 0) for key, value in rows])
    await writers[0].commit()
    running = Running(log, tmp_path, lambda _path: store)
    await running.caught_up()
    assert store.rows() == {b"t/a": b"1", b"t/b": b"1"}
    await writers[1].abort()
    await writers[2].append(FOLLOWED, [Record(b"t/b", None, 0), Record(b"t/c", b"1", 0)])
    await writers[2].commit()
    await running.caught_up()
    assert store.rows() == {b"t/a": b"1", b"t/c": b"1"} == fold(log)
    assert running.standby.page() == {"state": "following", "position": store.changelog_offset(), "lag": 0}
    await running.end()


ACCOUNTS = st.sampled_from([b"a", b"b", b"c"])
MESSAGES = st.lists(st.tuples(ACCOUNTS, st.sampled_from([b"1", b"2", b"close"])), max_size=20)


def expected(messages: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """One sequential run of the same rule."""
    numbers: dict[bytes, int] = {}
    written = []
    for key, value in messages:
        number = numbers.get(key, 0) + 1
        written.append(b"%s %d" % (value, number))
        numbers[key] = 0 if value == b"close" else number
    return written


@given(before=MESSAGES, after=MESSAGES, lost=st.lists(st.integers(0, 4), max_size=4), steps=st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_standby_when_crashed_and_taken_over_anywhere_then_outputs_are_those_of_one_run(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[bytes, bytes]],
    after: list[tuple[bytes, bytes]],
    lost: list[int],
    steps: int,
) -> None:
    async def history() -> tuple[MemoryLog, MemoryStore]:
        path = tmp_path_factory.getbasetemp()
        log, owned, followed = make_log(), MemoryStore(), MemoryStore()
        owner = StageRunner(make_stage(), make_settings(path, "owner"), log, {}, None, lambda _path: owned)
        heir = StageRunner(make_stage(), make_settings(path, "heir"), log, {}, None, lambda _path: followed)
        log.put(Partition(INPUT.name, 1), *(Record(key, value, 0) for key, value in before))
        await owner.serve(frozenset({1}))
        for losing in lost:
            await heir.serve(frozenset(), frozenset({1}))
            for _ in range(steps):
                await asyncio.sleep(0)
            await heir.serve(frozenset())
            followed.crash(losing)
        await heir.serve(frozenset(), frozenset({1}))
        for _ in range(steps):
            await asyncio.sleep(0)
        log.put(Partition(INPUT.name, 1), *(Record(key, value, 0) for key, value in after))
        await heir.serve(frozenset({1}))  # the old owner has not been told yet
        await until(lambda: positions_of(followed).get(INPUT.name, 0) == len(before) + len(after))
        await owner.close()
        await heir.close()
        return log, followed

    log, store = asyncio.run(history())
    assert [r.value for r in log.committed(Partition(OUTPUT.name, 1))] == expected([*before, *after])
    assert without_ownership(store.rows()) == without_ownership(fold(log))


async def test_followed_partition_when_it_is_assigned_then_only_the_tail_is_restored_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    log = make_log()
    disks: dict[str, MemoryStore] = {}

    def stores(path: Path) -> MemoryStore:
        return disks.setdefault(path.parent.name, MemoryStore())

    accounts = [Record(row_key("accounts", b"account-%d" % n), b"1", 0) for n in range(5_000)]
    writer = await log.fence("followed.count.worker.gone")
    await writer.begin()
    await writer.append(FOLLOWED, accounts)
    await writer.commit()
    runner = StageRunner(make_stage(), make_settings(tmp_path), log, {}, None, stores)
    await runner.serve(frozenset({0}), frozenset({1}))
    await until(lambda: serves(runner, 0))
    staying = runner.tasks[0]
    await until(lambda: [standby.state for standby in runner.standbys.running()] == ["following"])
    restored = metrics.RESTORED_ROWS.labels("followed", "count", "1")
    before = restored._value.get()
    await runner.serve(frozenset({0, 1}))
    await until(lambda: serves(runner, 1))
    assert restored._value.get() - before < 10, "the standby had everything but the claims"
    assert runner.standbys.page() == {}
    assert runner.tasks[0] is staying and staying.progress.state == "running", "what stays is not opened anew"
    log.put(Partition(INPUT.name, 1), Record(b"account-7", b"x", 0))
    await until(lambda: len(log.committed(Partition(OUTPUT.name, 1))) == 1)
    assert log.committed(Partition(OUTPUT.name, 1))[0].value == b"x 2"
    await runner.serve(frozenset({0}), frozenset({1}))
    await until(lambda: [standby.state for standby in runner.standbys.running()] == ["following"])
    assert runner.tasks[0] is staying and staying.progress.state == "running"
    await runner.close()
    assert without_ownership(disks["1"].rows()) == without_ownership(fold(log))


async def test_task_when_it_restores_then_its_progress_says_how_many_rows_and_what_remains(tmp_path: Path) -> None:
    log, store = make_log(), MemoryStore()
    log.put(FOLLOWED, *(Record(row_key("accounts", b"account-%d" % n), b"1", 0) for n in range(10_000)))
    runner = StageRunner(make_stage(), make_settings(tmp_path), log, {}, None, lambda _path: store)
    await runner.serve(frozenset({1}))
    pages = []
    while not serves(runner, 1):
        await asyncio.sleep(0)
        if 1 in runner.tasks and (page := runner.tasks[1].progress.page()) not in pages:
            pages.append(page)
    await runner.close()
    seen = [(page["rows"], page["done"], page["remaining"]) for page in pages if page["of"] == 10_000]
    assert seen == [(rows, rows, 10_000 - rows) for rows in range(2_000, 10_001, 2_000)]
    assert {page["state"] for page in pages} == {"opening", "restoring", "running"}


class FullDisk(MemoryStore):
    """Refuses every write while it is full."""

    full = True

    def write(self, rows: Rows, changelog_offset: int) -> None:
        if self.full:
            raise OSError("no space left on device")
        super().write(rows, changelog_offset)


async def test_standby_when_its_disk_is_full_then_tasks_are_not_disturbed_and_it_catches_up_later(
    tmp_path: Path,
) -> None:
    log, full, sound = make_log(), FullDisk(), MemoryStore()

    def stores(path: Path) -> MemoryStore:
        return full if path.parent.name == "1" else sound

    writer = await log.fence("writer")
    await writer.begin()
    await writer.append(FOLLOWED, [Record(row_key("accounts", b"a"), b"1", 0)])
    await writer.commit()
    runner = StageRunner(make_stage(), make_settings(tmp_path), log, {}, None, stores)
    await runner.serve(frozenset({0}), frozenset({1}))
    await until(lambda: [standby.state for standby in runner.standbys.running()] == ["waiting"])
    log.put(Partition(INPUT.name, 0), Record(b"b", b"x", 0))
    await until(lambda: len(log.committed(Partition(OUTPUT.name, 0))) == 1)
    full.full = False
    await until(lambda: full.rows() == fold(log))
    await runner.close()


@pytest.mark.parametrize("torn", ["CURRENT", "MANIFEST-*", "*.log"])
async def test_standby_when_its_files_are_torn_then_it_begins_anew_and_has_everything(
    tmp_path: Path, torn: str
) -> None:
    log = make_log()
    path = make_stage().store_path(make_settings(tmp_path), 1)
    for store_rows in ([(b"accounts/a", b"1")], [(b"accounts/b", b"2")]):
        writer = await log.fence("writer")
        await writer.begin()
        await writer.append(FOLLOWED, [Record(key, value, 0) for key, value in store_rows])
        await writer.commit()
        running = Running(log, tmp_path, RocksStore)
        await running.caught_up()
        await running.end()
    (file,) = path.glob(torn)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    running = Running(log, tmp_path, RocksStore)
    await running.caught_up()
    await running.end()
    store = RocksStore(path)
    assert {key: store.get(key) for key in fold(log)} == fold(log)
    assert store.changelog_offset() == log.stable_end(FOLLOWED)
    store.close()


def has_served(log: MemoryLog, outputs: int) -> bool:
    return len(log.committed(Partition(OUTPUT.name, 1))) == outputs


async def test_task_when_its_files_are_torn_then_its_store_is_filled_from_the_log_again(tmp_path: Path) -> None:
    log, wanted = make_log(), make_settings(tmp_path)
    path = make_stage().store_path(wanted, 1)
    for served in range(1, 3):
        log.put(Partition(INPUT.name, 1), Record(b"a", b"x", 0))
        runner = StageRunner(make_stage(), wanted, log, {}, None, RocksStore)
        await runner.serve(frozenset({1}))
        await until(partial(has_served, log, served))
        await runner.close()
        (manifest,) = path.glob("MANIFEST-*")
        manifest.write_bytes(manifest.read_bytes()[: manifest.stat().st_size // 2])
    assert [record.value for record in log.committed(Partition(OUTPUT.name, 1))] == [b"x 1", b"x 2"]


async def test_standby_when_its_store_is_ahead_of_the_log_then_it_is_refused(tmp_path: Path) -> None:
    log, store = make_log(), MemoryStore()
    store.write([(b"accounts/a", b"of another log")], 5_000)
    running = Running(log, tmp_path, lambda _path: store)
    await until(lambda: running.standby.state == "refused")
    assert store.rows() == {b"accounts/a": b"of another log"}
    await running.end()


@pytest.mark.parametrize(("age_s", "rows"), [(STORE_AGE_MAX_S + 1, {}), (STORE_AGE_MAX_S - 1, {b"t/gone": b"1"})])
async def test_store_when_left_for_longer_than_tombstones_are_kept_then_it_is_filled_from_the_beginning(
    tmp_path: Path, age_s: float, rows: dict[bytes, bytes]
) -> None:
    log, store = make_log(), MemoryStore()
    log.put(FOLLOWED, Record(b"t/gone", b"1", 0))
    running = Running(log, tmp_path, lambda _path: store)
    await running.caught_up()
    await running.end()
    for value in (None, b"9"):
        log.put(FOLLOWED, Record(b"t/gone" if value is None else b"t/a", value, 0))
    log.expire_tombstones(FOLLOWED)
    store.age = age_s
    running = Running(log, tmp_path, lambda _path: store)
    await running.caught_up()
    await running.end()
    assert store.rows() == {b"t/a": b"9"} | rows


async def test_standby_when_a_row_breaks_an_invariant_then_who_opens_its_store_is_refused(tmp_path: Path) -> None:
    def verify(key: bytes, number: int) -> None:
        assert number > 0, "an account has a number"

    log, store = make_log(), MemoryStore()
    writer = await log.fence("writer")
    await writer.begin()
    await writer.append(FOLLOWED, [Record(row_key("accounts", b"a"), b"0", 0)])
    await writer.commit()
    running = Running(log, tmp_path, lambda _path: store, verify={"accounts": verify})
    await until(lambda: running.standby.state == "following")
    await running.end()
    inherited = make_stage(verify={"accounts": verify})
    with pytest.raises(Refused, match="an account has a number"):
        await Task(inherited, 1, log, make_settings(tmp_path), {}, open_store=lambda _path: store).run()


def test_owner_when_it_is_no_member_then_nobody_waits_for_it_to_give_its_partition_back(tmp_path: Path) -> None:
    async def seconds_until_served(workers: set[str]) -> float:
        log, store = make_log(), MemoryStore()
        dead = await log.fence(stage.process_id("dead"))
        await dead.begin()
        await dead.append(FOLLOWED, [Record(OWNER_KEY, stage.process_id("dead").encode(), 0)])
        await dead.commit()
        wanted = make_settings(tmp_path).model_copy(update={"handover_wait_ms": 60_000})
        runner = StageRunner(stage, wanted, log, {}, None, lambda _path: store)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await runner.serve(frozenset({1}), frozenset(), frozenset(workers))
        while not serves(runner, 1):
            await asyncio.sleep(0.1)
        seconds = loop.time() - began
        await runner.close()
        return seconds

    stage = make_stage()
    assert clock.run(seconds_until_served({"a", "dead"})) >= 60, "it may live and give it back"
    assert clock.run(seconds_until_served({"a"})) < 1, "it is gone"
    assert clock.run(seconds_until_served(set())) >= 60, "nobody said who is there"
