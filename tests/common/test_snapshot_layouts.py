"""A snapshot says which layout it is of: older ones are migrated while restored, others refuse the partition."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from streams.model.declaration import Stage
from streams.model.errors import Newer, Refused
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import SnapshotLayout, Snapshotted, Tables
from streams.process.settings import Settings
from streams.stage.task import Task
from streams.state.snapshots import SnapshotDirectory
from streams.testing.memory_clients import MemoryReader
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

INPUT = Topic("summed.input", "account", RAW_SCHEMA, "test", partitions=1)
OUTPUT = Topic("summed.output", "account", RAW_SCHEMA, "test", partitions=1)
CHANGELOG = Topic("summed.sum.changelog", "table/key", RAW_SCHEMA, "test", partitions=1)
LAYOUT = "summed.sum.sum"
WITHIN_S = 10.0


def save(state: list[int], path: Path) -> None:
    (path / "sum").write_text(str(state[0]))


def load_hundreds(path: Path, _layout: SnapshotLayout) -> list[int]:
    """Version 1 kept hundreds."""
    return [int((path / "sum").read_text())]


def load(path: Path, layout: SnapshotLayout) -> list[int]:
    """Loads the sum, scaled by the declaration."""
    state = int((path / "sum").read_text())
    return [state * (100 if layout.version == 1 else 1) * layout.declared.get("scale", 1)]


ONE = Snapshotted("sum", lambda _: [0], save, load_hundreds, interval_s=0.0)
TWO = replace(ONE, load=load, version=2)
SCALED = replace(TWO, declare=lambda _state: {"scale": 3})
COMMITTED = {INPUT.name: 10}


def restored(path: Path, declared: Snapshotted[list[int]], layout: str = LAYOUT) -> list[int] | None:
    found = SnapshotDirectory(path, declared, layout).newest(COMMITTED)
    return found.state if found else None


def test_snapshot_when_older_then_migrated_with_progress(tmp_path: Path) -> None:
    SnapshotDirectory(tmp_path, ONE, LAYOUT).save([7], {INPUT.name: 5})
    told: list[tuple[str, int, int, int]] = []
    found = SnapshotDirectory(tmp_path, TWO, LAYOUT, lambda *progress: told.append(progress)).newest(COMMITTED)
    assert found is not None
    assert (found.state, dict(found.positions)) == ([700], {INPUT.name: 5})
    assert [progress[0] for progress in told] == ["migrating", "migrating"]


def test_snapshot_when_it_says_nothing_of_itself_then_it_is_of_the_first_layout(tmp_path: Path) -> None:
    SnapshotDirectory(tmp_path, ONE, LAYOUT).save([7], {INPUT.name: 5})
    (tmp_path / "1" / "layout.json").unlink()
    assert restored(tmp_path, TWO) == [700]


def test_snapshot_when_restored_then_its_reader_is_told_what_it_was_made_under(tmp_path: Path) -> None:
    SnapshotDirectory(tmp_path, SCALED, LAYOUT).save([7], {INPUT.name: 5})
    assert restored(tmp_path, TWO) == [21]


@pytest.mark.parametrize(
    ("declared", "layout", "error", "says"),
    [
        (ONE, LAYOUT, Newer, rf"is of {LAYOUT} version 2, and this release knows {LAYOUT} version 1: start"),
        (replace(TWO, version=4, oldest=3), LAYOUT, Refused, rf"is of {LAYOUT} version 2.*{LAYOUT} version 4, and no"),
        (TWO, "other.stage.sum", Refused, rf"is of {LAYOUT} version 2, and this release knows other.stage.sum"),
    ],
)
def test_snapshot_when_newer_too_old_or_unknown_then_refused_in_one_line_and_left(
    tmp_path: Path, declared: Snapshotted[list[int]], layout: str, error: type[Refused], says: str
) -> None:
    SnapshotDirectory(tmp_path, TWO, LAYOUT).save([7], {INPUT.name: 5})
    with pytest.raises(error, match=says) as refusal:
        restored(tmp_path, declared, layout)
    assert "\n" not in str(refusal.value)
    assert restored(tmp_path, TWO) == [7]


def test_snapshot_when_a_newer_one_was_followed_by_an_older_release_then_the_newest_counts(tmp_path: Path) -> None:
    SnapshotDirectory(tmp_path, TWO, LAYOUT).save([7], {INPUT.name: 5})
    SnapshotDirectory(tmp_path, ONE, LAYOUT).save([1], {INPUT.name: 6})
    assert restored(tmp_path, ONE) == [1]
    assert restored(tmp_path, TWO) == [100]


def test_snapshot_of_today_when_read_by_a_release_that_knows_no_versions_then_it_is_far_ahead(tmp_path: Path) -> None:
    """That release takes every entry beside the state for a topic's position."""
    SnapshotDirectory(tmp_path, TWO, LAYOUT).save([7], {INPUT.name: 5})
    positions = json.loads((tmp_path / "1" / "positions.json").read_text())
    assert any(offset > COMMITTED.get(topic, 0) for topic, offset in positions.items())


def add(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    state: list[int] = tables.snapshotted("sum")
    state[0] += int(message.body)
    yield Output(OUTPUT, message.key or b"", b"%d" % state[0], message.partition)


class WatchedLog(MemoryLog):
    """Notes which partitions are read."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys([INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name], 1))
        self.read_from: set[str] = set()

    async def read(self, partition: Partition, start: int) -> MemoryReader:
        self.read_from.add(partition.topic)
        return await super().read(partition, start)


async def serve(log: MemoryLog, store: MemoryStore, path: Path, declared: Snapshotted[list[int]], wanted: int) -> None:
    """Until ``wanted`` outputs are committed and a snapshot holds them. Raises what ends the task."""
    stage = Stage("summed", "sum", add, (INPUT,), (OUTPUT,), CHANGELOG, (declared,))
    task = Task(stage, 0, log, Settings(data_dir=path), {}, open_store=lambda _: store)
    running = asyncio.create_task(task.run())
    async with asyncio.timeout(WITHIN_S):
        while len(log.committed_in(OUTPUT.name, 0)) < wanted and not running.done():
            await asyncio.sleep(0.001)
    running.cancel()
    result = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(result, Exception):
        raise result


async def test_stage_when_its_snapshot_is_of_a_newer_release_then_refused_before_a_message_is_read(
    tmp_path: Path,
) -> None:
    log, store = WatchedLog(), MemoryStore()
    for number in (1, 2, 3):
        log.put(Partition(INPUT.name, 0), Record(b"account", b"%d" % number, 0))
    await serve(log, store, tmp_path, TWO, 3)
    assert SnapshotDirectory(tmp_path / "summed" / "sum" / "0" / "snapshots", TWO, LAYOUT).newest({INPUT.name: 3})
    log.put(Partition(INPUT.name, 0), Record(b"account", b"4", 0))
    log.read_from.clear()
    with pytest.raises(Newer, match=rf"{LAYOUT} version 2.*{LAYOUT} version 1"):
        await serve(log, store, tmp_path, ONE, 4)
    assert INPUT.name not in log.read_from
    await serve(log, store, tmp_path, TWO, 4)
    assert log.committed_in(OUTPUT.name, 0)[-1].value == b"10"


def test_nearest_when_read_beside_the_task_then_the_newest_accepted_and_nothing_is_removed(tmp_path: Path) -> None:
    directory = SnapshotDirectory(tmp_path, ONE, LAYOUT)
    directory.save([1], {INPUT.name: 3})
    directory.save([2], {INPUT.name: 9})
    (tmp_path / "7.part").mkdir()  # the task is writing one
    beside = SnapshotDirectory(tmp_path, ONE, LAYOUT, owned=False)

    def up_to(offset: int) -> list[tuple[list[int], int]]:
        return [(s.state, s.positions[INPUT.name]) for s in beside.nearest(lambda said: said[INPUT.name] <= offset)]

    assert up_to(9) == [([2], 9), ([1], 3)]
    assert up_to(8) == [([1], 3)]
    assert up_to(2) == []
    (tmp_path / "2" / "positions.json").write_text("torn")
    assert up_to(9) == [([1], 3)]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "7.part"}
