"""Troubles of a store, made by real means on RocksDB, and what a running stage makes of them."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from streams.group.assignment import Assignment
from streams.model.declaration import Stage
from streams.model.log import Partition, Record
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.settings import RestartSettings, Settings, StoreSettings
from streams.stage.runner import StageRunner
from streams.state.store import CHANGELOG_KEY, RocksStore, position_key, positions_of, row_key
from streams.state.store_errors import CorruptStore, StoreError, StoreFault, fault_of
from streams.testing.memory_log import MemoryLog

PARTITIONS = 2
ROWS = 4_000
INPUT = Topic("struck.input", "account", RAW_SCHEMA, "test", partitions=PARTITIONS)
OUTPUT = Topic("struck.output", "account", RAW_SCHEMA, "test", partitions=PARTITIONS)
CHANGELOG = Topic("struck.count.changelog", "table/key", RAW_SCHEMA, "test", partitions=PARTITIONS)
WITHIN_S = 20.0


# --- files ---------------------------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    """A closed store with a table file of some hundred kilobytes, a second one and a write-ahead log."""
    store = RocksStore(path)
    for part in range(4):
        rows = [(row_key("accounts", b"%06d" % n), os.urandom(40)) for n in range(part * 1_000, part * 1_000 + 1_000)]
        store.write(rows, part + 1)
    store.close()
    store = RocksStore(path)
    store.write([(row_key("accounts", b"last"), b"row")], 5)
    store.close()


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte[0] ^ 0xFF]))


def largest(path: Path, pattern: str) -> Path:
    return max(path.glob(pattern), key=lambda file: file.stat().st_size)


def half(file: Path) -> int:
    return file.stat().st_size // 2


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a block in the middle": lambda store: flip(largest(store, "*.sst"), half(largest(store, "*.sst"))),
    "the first block": lambda store: flip(largest(store, "*.sst"), 40),
    "the footer": lambda store: flip(largest(store, "*.sst"), largest(store, "*.sst").stat().st_size - 10),
    "half a table file": lambda store: os.truncate(largest(store, "*.sst"), half(largest(store, "*.sst"))),
    "no table file": lambda store: largest(store, "*.sst").unlink(),
    "a manifest with another byte": lambda store: flip(largest(store, "MANIFEST*"), 60),
    "an empty manifest": lambda store: os.truncate(largest(store, "MANIFEST*"), 0),
    "no manifest": lambda store: largest(store, "MANIFEST*").unlink(),
    "an empty CURRENT": lambda store: os.truncate(store / "CURRENT", 0),
    "a CURRENT of another store": lambda store: (store / "CURRENT").write_text("MANIFEST-999999\n"),
    "no CURRENT": lambda store: (store / "CURRENT").unlink(),
}


def read_all(path: Path) -> int:
    store = RocksStore(path)
    try:
        store.changelog_offset(), store.age_s(), dict(positions_of(store))
        return sum(1 for _ in store.prefix(row_key("accounts", b"")))
    finally:
        store.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_when_damaged_then_opening_or_reading_says_so(damage: str, tmp_path: Path) -> None:
    fill(tmp_path / "store")
    assert read_all(tmp_path / "store") == ROWS + 1
    DAMAGES[damage](tmp_path / "store")
    with pytest.raises(CorruptStore):
        read_all(tmp_path / "store")


def test_write_ahead_log_when_cut_then_the_store_goes_back_with_its_position(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "store")
    for number in range(100):
        store.write([(row_key("accounts", b"a"), b"%d" % number)], number + 1)
    copied = tmp_path / "copied"
    subprocess.run(["cp", "-r", tmp_path / "store", copied], check=True)  # as a power cut would leave it
    store.close()
    os.truncate(largest(copied, "*.log"), half(largest(copied, "*.log")))
    store = RocksStore(copied)
    assert 0 < store.changelog_offset() < 100
    assert store.get(row_key("accounts", b"a")) == b"%d" % (store.changelog_offset() - 1)
    store.close()


def test_own_rows_when_they_are_no_numbers_then_damaged(tmp_path: Path) -> None:
    for key in (CHANGELOG_KEY, position_key("input")):
        fill(tmp_path / key.hex())
        spoil(tmp_path / key.hex(), key, b"\xff")
        with pytest.raises(CorruptStore, match="no number"):
            read_all(tmp_path / key.hex())


def spoil(path: Path, key: bytes, value: bytes) -> None:
    """Writes a row past the runtime."""
    opened = RocksStore(path)
    opened._db.put(key, value)
    opened.close()


# --- what the system refuses ---------------------------------------------------------------------------------------


def said_by(program: str, *arguments: Path) -> str:
    """The line that a process of its own prints: the fault, or nothing."""
    head = """
        import os, resource, sys
        from pathlib import Path
        from streams.state.store import RocksStore
        from streams.state.store_errors import StoreError
        path = Path(sys.argv[1])
        try:
    """
    tail = """
        except StoreError as error:
            print(error.fault)
    """
    whole = textwrap.dedent(head) + textwrap.indent(textwrap.dedent(program), "    ") + textwrap.dedent(tail)
    done = subprocess.run([sys.executable, "-c", whole, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_store_when_another_process_has_it_then_locked(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "store")
    assert said_by("RocksStore(path)", tmp_path / "store") == "locked"
    with pytest.raises(StoreError) as twice:
        RocksStore(tmp_path / "store")
    assert twice.value.fault is StoreFault.LOCKED
    store.close()


def test_disk_when_it_takes_no_more_then_full(tmp_path: Path) -> None:
    program = """
    store = RocksStore(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for number in range(1_000):
        store.write([(b"accounts/%d" % number, os.urandom(1_000))], number + 1)
    """
    assert said_by(program, tmp_path / "store") == "full"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody whom the directory is closed to")
def test_directory_when_it_is_closed_then_denied(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    closed = "os.chmod(path, 0o700); os.chmod(path.parent, 0o755); os.setresuid(65534, 65534, 65534); RocksStore(path)"
    assert said_by(closed, tmp_path / "store") == "denied"


def test_directory_when_there_is_a_file_in_its_place_then_denied(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no directory")
    for path in (tmp_path / "store", tmp_path / "store" / "0" / "store"):
        with pytest.raises(StoreError) as refused:
            RocksStore(path)
        assert refused.value.fault is StoreFault.DENIED


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Corruption: Corruption: IO error: Too many open files: While open a file: 000009.sst", StoreFault.FAILING),
        ("IO error: No space left on device: While appending to file: 000009.sst", StoreFault.FULL),
        ("IO error: While open a file for lock: /store/LOCK: Permission denied", StoreFault.DENIED),
        ("IO error: Input/output error: While pread offset 0 len 4096", StoreFault.DAMAGED),
        ("Not implemented: Unsupported compression method for this build", StoreFault.DAMAGED),
        ("something new", StoreFault.FAILING),
    ],
)
def test_message_of_rocksdb_when_hard_to_bring_about_then_known_all_the_same(text: str, fault: StoreFault) -> None:
    assert fault_of(Exception(text)) is fault


# --- a stage -------------------------------------------------------------------------------------------------------


def count(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    """Numbers the messages of each account."""
    accounts = tables.changelogged("accounts")
    assert message.key is not None
    number = (accounts.get(message.key) or 0) + 1
    accounts.put(message.key, number)
    yield Output(OUTPUT, message.key, b"%s %d" % (message.key, number), message.partition)


STAGE = Stage(
    "struck",
    "count",
    count,
    (INPUT,),
    (OUTPUT,),
    CHANGELOG,
    (Changelogged("accounts", Codec(lambda number: b"%d" % number, int)),),
)


class Told:
    """An assignment of everything, and what the worker says it cannot serve."""

    def __init__(self) -> None:
        self.given_up: list[frozenset[int]] = []
        self._told = False

    async def changed(self) -> Assignment:
        if self._told:
            await asyncio.Event().wait()
        self._told = True
        return Assignment(frozenset(range(PARTITIONS)))

    def unable(self, partitions: frozenset[int]) -> None:
        self.given_up.append(partitions)


class Worker:
    """A process with both partitions, on a log in memory and stores on disk."""

    def __init__(self, log: MemoryLog, path: Path, **more: Any) -> None:
        settings = Settings(data_dir=path, restart=RestartSettings(backoff_min_s=0.02, backoff_max_s=0.1), **more)
        self.told = Told()
        self.runner = StageRunner(STAGE, settings, log, {})
        self.reopened: list[int] = []
        reopens = self.runner._reopens
        self.runner._reopens = lambda task, *rest: self.reopened.append(task.partition) or reopens(task, *rest)  # type: ignore[method-assign,func-returns-value]
        self.running = asyncio.create_task(self.runner.follow(self.told))

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.runner.close()


def make_log() -> MemoryLog:
    return MemoryLog(dict.fromkeys([INPUT.name, INPUT.dead_letters, OUTPUT.name, CHANGELOG.name], PARTITIONS))


def feed(log: MemoryLog, accounts: int) -> None:
    for partition in range(PARTITIONS):
        for number in range(accounts):
            log.put(Partition(INPUT.name, partition), Record(b"account-%04d" % number, b"message", 0))


def answers(log: MemoryLog, partition: int) -> list[bytes | None]:
    return [record.value for record in log.committed_in(OUTPUT.name, partition)]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not what():
            await asyncio.sleep(0.01)


ACCOUNTS = 600


async def counted_once(path: Path) -> MemoryLog:
    log = make_log()
    feed(log, ACCOUNTS)
    worker = Worker(log, path)
    await until(lambda: all(len(answers(log, p)) == ACCOUNTS for p in range(PARTITIONS)))
    await worker.stop()
    return log


def store_of(path: Path, partition: int = 0) -> Path:
    return path / "struck" / "count" / str(partition) / "store"


async def check_recovers(log: MemoryLog, path: Path) -> None:
    """Every account is numbered on, by a worker whose other partition notices nothing."""
    worker = Worker(log, path)
    feed(log, ACCOUNTS)
    await until(lambda: all(len(answers(log, p)) == 2 * ACCOUNTS for p in range(PARTITIONS)))
    for partition in range(PARTITIONS):
        assert sorted(answers(log, partition)[ACCOUNTS:], key=str) == [b"account-%04d 2" % n for n in range(ACCOUNTS)]
        assert not log.committed_in(INPUT.dead_letters, partition)
    assert worker.reopened.count(0) <= 2
    assert worker.reopened.count(1) == 0
    assert not worker.told.given_up
    await worker.stop()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_stage_when_one_store_is_damaged_then_it_is_made_anew_and_its_neighbour_does_not_notice(
    damage: str, tmp_path: Path
) -> None:
    log = await counted_once(tmp_path)
    RocksStore(store_of(tmp_path)).close()  # what was only in the write-ahead log is in a table file now
    DAMAGES[damage](store_of(tmp_path))
    await check_recovers(log, tmp_path)


@pytest.mark.parametrize(
    "key", [CHANGELOG_KEY, position_key(INPUT.name), b"@landmark", b"@layout", row_key("accounts", b"account-0500")]
)
async def test_stage_when_a_row_is_spoiled_then_the_store_is_made_anew_and_no_message_is_set_aside(
    key: bytes, tmp_path: Path
) -> None:
    log = await counted_once(tmp_path)
    spoil(store_of(tmp_path), key, b"\xff")
    await check_recovers(log, tmp_path)


async def test_worker_when_it_cannot_open_a_store_then_it_gives_that_partition_up_and_takes_it_back_when_it_can(
    tmp_path: Path,
) -> None:
    log = make_log()
    feed(log, 10)
    store_of(tmp_path).parent.mkdir(parents=True)
    store_of(tmp_path).write_text("a file in the store's place")
    worker = Worker(log, tmp_path, store=StoreSettings(give_up_s=0.3, retry_s=0.3))
    await until(lambda: worker.told.given_up == [{0}])
    await until(lambda: len(answers(log, 1)) == 10)
    assert worker.reopened.count(1) == 0
    assert "store" in worker.runner.given_up.page()["0"]
    await worker.runner.serve(frozenset({1}))  # the group has found somebody else
    await asyncio.sleep(0.5)
    assert worker.told.given_up == [{0}], "the disk still refuses"
    store_of(tmp_path).unlink()
    await until(lambda: worker.told.given_up == [{0}, set()])
    await worker.runner.serve(frozenset({0, 1}))
    await until(lambda: len(answers(log, 0)) == 10)
    await worker.stop()
