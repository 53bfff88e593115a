"""State has a version: grown, or refused before a message is read; and what a row that is none does to whom."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from common.testing.simulation import clock
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.model.declaration import Stage
from streams.model.errors import Newer, Refused
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, SnapshotLayout, Snapshotted, Tables
from streams.opening import layout
from streams.opening.layout import Kept
from streams.process.settings import Settings
from streams.stage.task import Task
from streams.state.snapshots import SnapshotDirectory
from streams.state.store import LAYOUT_KEY, UNCHECKED_KEY, row_key
from streams.state.store_errors import UndecodableRow
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

INPUT = Topic("grown.input", "account", RAW_SCHEMA, "test", partitions=1)
OUTPUT = Topic("grown.output", "account", RAW_SCHEMA, "test", partitions=1)
CHANGELOG = Topic("grown.count.changelog", "table/key", RAW_SCHEMA, "test", partitions=1)
STATE = Partition(CHANGELOG.name, 0)
WITHIN_S = 10.0
NUMBER = Codec(lambda number: b"%d" % number, int)
"""Layout 1."""
COUNTED = Codec(
    lambda number: msgspec.json.encode({"count": number}), lambda raw: int(msgspec.json.decode(raw)["count"])
)
"""Layout 2: an object in the number's place."""
THOUSANDS = Codec(lambda number: b"%d" % (number * 1_000), lambda raw: int(raw) // 1_000)
"""Layout 3: rows that a reader of layout 1 would misread without an error."""


def counted(_key: bytes, raw: bytes) -> bytes:
    return b'{"count":%d}' % int(raw)


def in_thousands(_key: bytes, raw: bytes) -> bytes:
    return b"%d000" % msgspec.json.decode(raw)["count"]


MIGRATIONS = {1: {"accounts": counted}, 2: {"accounts": in_thousands}}


def count(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    """Numbers the messages of each account."""
    accounts = tables.changelogged("accounts")
    assert message.key is not None
    number = (accounts.get(message.key) or 0) + 1
    accounts.put(message.key, number)
    yield Output(OUTPUT, message.key, b"%s %d" % (message.key, number), message.partition)


def release(codec: Codec, version: int = 1, **more: Any) -> Stage:
    """The stage as a release declares it."""
    return Stage(
        "grown", "count", count, (INPUT,), (OUTPUT,), CHANGELOG, (Changelogged("accounts", codec),),
        version=version, migrations={v: MIGRATIONS[v] for v in range(1, version)}, **more,
    )  # fmt: skip


V1, V2, V3 = release(NUMBER), release(COUNTED, 2), release(THOUSANDS, 3)


def make_log() -> MemoryLog:
    return MemoryLog(dict.fromkeys([INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name], 1))


def feed(log: MemoryLog, accounts: int) -> None:
    for number in range(accounts):
        log.put(Partition(INPUT.name, 0), Record(b"account-%d" % number, b"message", 0))


def answers(log: MemoryLog) -> list[bytes | None]:
    return [record.value for record in log.committed_in(OUTPUT.name, 0)]


def rows(log: MemoryLog) -> dict[bytes, bytes | None]:
    """The changelog's newest rows."""
    return {record.key: record.value for record in log.committed_in(CHANGELOG.name, 0) if record.key is not None}


def said_of(log: MemoryLog) -> Kept:
    return msgspec.json.decode(rows(log)[LAYOUT_KEY] or b"", type=Kept)


def task_of(log: MemoryLog, store: MemoryStore, stage: Stage, *, strict: bool = False) -> Task:
    return Task(stage, 0, log, Settings(data_dir=Path("none")), {}, open_store=lambda _: store, strict=strict,
                discard=lambda _: store.wipe())  # fmt: skip


async def serve(
    log: MemoryLog,
    store: MemoryStore,
    stage: Stage,
    wanted: int,
    *,
    strict: bool = False,
    until: Callable[[], bool] = lambda: True,
) -> None:
    """Until ``wanted`` outputs are committed. Raises what ends the task."""
    running = asyncio.create_task(task_of(log, store, stage, strict=strict).run())
    async with asyncio.timeout(WITHIN_S):
        while (len(answers(log)) < wanted or not until()) and not running.done():
            await asyncio.sleep(0.001)
    running.cancel()
    result = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(result, Exception):
        raise result


async def counted_by(stage: Stage, accounts: int = 10) -> tuple[MemoryLog, MemoryStore]:
    """A log and a store after each account had one message."""
    log, store = make_log(), MemoryStore()
    feed(log, accounts)
    await serve(log, store, stage, accounts)
    return log, store


# --- grown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize("newer", [V2, V3])
async def test_newer_release_when_it_has_migrations_then_every_row_is_grown_and_counted_on(
    newer: Stage, has_store: bool
) -> None:
    log, store = await counted_by(V1)
    assert said_of(log).version == 1
    feed(log, 10)
    await serve(log, store if has_store else MemoryStore(), newer, 20)
    assert answers(log)[10:] == [b"account-%d 2" % n for n in range(10)]
    assert said_of(log) == layout.layout_of(newer)
    decode = newer.changelogged()[0].codec.decode
    assert [decode(rows(log)[row_key("accounts", b"account-%d" % n)] or b"") for n in range(10)] == [2] * 10
    assert not log.committed_in(INPUT.dead_letters, 0)


@settings(max_examples=40, deadline=None)
@given(at_once=st.integers(1, 4), ends=st.lists(st.integers(1, 3), max_size=6), forgets=st.booleans())
def test_growth_when_the_process_dies_in_the_middle_then_the_next_one_goes_on_from_there(
    at_once: int, ends: list[int], forgets: bool
) -> None:
    async def happen() -> None:
        log, store = await counted_by(V1, 7)
        for commits in ends:
            allowed = iter(range(commits))
            right = layout._commit

            async def dies(*arguments: Any, left: Iterator[int] = allowed, right: Any = right) -> None:
                if next(left, None) is None:
                    raise KilledError
                await right(*arguments)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(layout, "ROWS_AT_ONCE", at_once)
                patch.setattr(layout, "_commit", dies)
                try:
                    await serve(log, store, V3, 0, until=lambda: said_of(log).version == V3.version)
                except KilledError:
                    store = MemoryStore() if forgets else store
        feed(log, 7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layout, "ROWS_AT_ONCE", at_once)
            await serve(log, store, V3, 14)
        assert answers(log)[7:] == [b"account-%d 2" % n for n in range(7)]
        assert said_of(log) == layout.layout_of(V3)

    clock.run(happen())


class KilledError(Exception):
    """The process is gone."""


async def test_migration_when_a_row_is_to_go_then_it_is_deleted(tmp_path: Path) -> None:
    log, store = await counted_by(V1, 3)
    forgetful = replace(
        V2, migrations={1: {"accounts": lambda key, raw: None if key == b"account-1" else counted(key, raw)}}
    )
    feed(log, 3)
    await serve(log, store, forgetful, 6)
    assert answers(log)[3:] == [b"account-0 2", b"account-1 1", b"account-2 2"]


async def test_migration_when_it_makes_rows_that_are_none_then_refused_and_nothing_written() -> None:
    log, store = await counted_by(V1)
    before = rows(log)
    with pytest.raises(Refused, match="after its migration"):
        await serve(log, store, replace(V2, migrations={1: {"accounts": lambda _key, raw: raw}}), 11)
    assert rows(log) == before


# --- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize(("older", "newer"), [(V1, V2), (V1, V3), (V2, V3)])
async def test_older_release_when_rows_are_of_a_newer_one_then_refused_with_nothing_read_or_written(
    older: Stage, newer: Stage, has_store: bool
) -> None:
    log, store = await counted_by(newer)
    before = log.committed_in(CHANGELOG.name, 0)
    feed(log, 10)
    with pytest.raises(Newer, match=rf"layout {newer.version}.*start the release that wrote them"):
        await serve(log, store if has_store else MemoryStore(), older, 11)
    assert [r.key for r in log.committed_in(CHANGELOG.name, 0)[len(before) :]] == []
    assert len(answers(log)) == 10
    await serve(log, store, newer, 20)
    assert answers(log)[10:] == [b"account-%d 2" % n for n in range(10)]


async def test_older_release_when_rows_are_half_grown_then_refused() -> None:
    log, store = await counted_by(V1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROWS_AT_ONCE", 3)
        patch.setattr(layout, "_grown", first_rows(layout._grown, 5))
        with pytest.raises(KilledError):
            await serve(log, store, V2, 11)
    assert said_of(log).growing
    with pytest.raises(Newer):
        await serve(log, store, V1, 11)


def first_rows(right: Callable[..., Iterator[Any]], count: int) -> Callable[..., Iterator[Any]]:
    def some(*arguments: Any) -> Iterator[Any]:
        for number, row in enumerate(right(*arguments)):
            if number == count:
                raise KilledError
            yield row

    return some


async def test_newer_release_when_it_has_no_migration_then_refused() -> None:
    log, store = await counted_by(V1)
    with pytest.raises(Refused, match=r"no migration from it"):
        await serve(log, store, replace(V2, migrations={}), 11)


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize(("first", "second"), [(NUMBER, COUNTED), (COUNTED, NUMBER)])
async def test_rows_when_changed_without_raising_the_version_then_refused_both_ways_before_a_message_is_read(
    first: Codec, second: Codec, has_store: bool
) -> None:
    log, store = await counted_by(release(first))
    feed(log, 10)
    with pytest.raises(Refused, match="cannot be decoded"):
        await serve(log, store if has_store else MemoryStore(), release(second), 11)
    assert len(answers(log)) == 10
    assert not log.committed_in(INPUT.dead_letters, 0)
    await serve(log, store, release(first), 20)
    assert answers(log)[10:] == [b"account-%d 2" % n for n in range(10)]


async def test_rows_when_only_the_last_of_many_is_none_then_refused_all_the_same() -> None:
    def below(raw: bytes) -> int:
        if len(raw) > 1:
            raise ValueError("one digit only")
        return int(raw)

    log, store = await counted_by(V1, 3)
    feed(log, 0)
    for _ in range(12):
        log.put(Partition(INPUT.name, 0), Record(b"zz", b"message", 0))
    await serve(log, store, V1, 15)
    with pytest.raises(Refused, match="one digit only"):
        await serve(log, store, release(Codec(NUMBER.encode, below)), 16)


async def test_state_when_it_is_of_a_release_that_knew_no_layouts_then_version_one() -> None:
    log, store = await counted_by(V1)
    for each in (store,):
        each._rows.pop(LAYOUT_KEY)
    feed(log, 10)
    await serve(log, store, V2, 20)
    assert answers(log)[10:] == [b"account-%d 2" % n for n in range(10)]


# --- rows that are none ----------------------------------------------------------------------------------------------


async def test_row_when_undecodable_in_the_store_alone_then_the_store_is_made_anew() -> None:
    log, store = await counted_by(V1, 100)
    store.spoil(row_key("accounts", b"account-99"), b"\xff")
    feed(log, 100)
    with pytest.raises(UndecodableRow, match="accounts"):
        await serve(log, store, V1, 200)
    assert not log.committed_in(INPUT.dead_letters, 0)
    await serve(log, store, V1, 200, strict=True)
    assert answers(log)[100:] == [b"account-%d 2" % n for n in range(100)]


async def test_row_when_undecodable_in_the_log_then_refused_and_the_message_stays() -> None:
    log, _ = await counted_by(V1, 100)
    log.put(STATE, Record(row_key("accounts", b"account-99"), b"\xff", 0))
    feed(log, 100)
    with pytest.raises(UndecodableRow):
        await serve(log, MemoryStore(), V1, 200)
    assert not log.committed_in(INPUT.dead_letters, 0)
    anew = MemoryStore()
    for _ in range(2):  # the second time the store has the row already
        with pytest.raises(Refused, match=r"account-99.*cannot be decoded.*start that release"):
            await serve(log, anew, V1, 200, strict=True)
    log.put(STATE, Record(row_key("accounts", b"account-99"), b"1", 0))
    await serve(log, anew, V1, 200)
    assert anew.get(UNCHECKED_KEY) is None
    assert sorted(answers(log), key=str)[::2] == sorted((b"account-%d 1" % n for n in range(100)), key=str)


async def test_invariant_when_a_later_row_mends_it_then_served() -> None:
    def positive(_key: bytes, number: int) -> None:
        if number < 1:
            raise ValueError("an account has a number")

    log, store = await counted_by(V1)
    log.put(STATE, Record(row_key("accounts", b"account-1"), b"0", 0))
    with pytest.raises(Refused, match="an account has a number"):
        await serve(log, store, release(NUMBER, verify={"accounts": positive}), 11)
    log.put(STATE, Record(row_key("accounts", b"account-1"), b"5", 0))
    log.put(Partition(INPUT.name, 0), Record(b"account-1", b"message", 0))
    await serve(log, store, release(NUMBER, verify={"accounts": positive}), 11)
    assert answers(log)[-1] == b"account-1 6"


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_snapshot_when_its_reader_raises_anything_then_the_one_before_it_is_taken(tmp_path: Path) -> None:
    def load(path: Path, _layout: SnapshotLayout) -> int:
        if (path / "state").read_text() == "torn":
            raise EOFError("nothing more")
        return 1

    def save(state: Any, path: Path) -> None:
        (path / "state").write_text(state)

    directory = SnapshotDirectory(tmp_path, Snapshotted("bulk", lambda _: "", save, load))
    directory.save("sound", {"input": 1})
    directory.save("torn", {"input": 2})
    (tmp_path / "lost+found").mkdir()
    found = directory.newest({"input": 5})
    assert found is not None
    assert found.positions == {"input": 1}
