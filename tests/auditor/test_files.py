"""The live auditor's watch over the files of stores: what is damage, and what RocksDB does itself."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from auditor.files import GONE_GRACE_S, FleetFiles, StoreFiles
from common.runtime.store import RocksStore, StoreFollower, live_tables, read_store

INTERVAL_S = 3.0


class Disk:
    """A store with table files and a log, its watch, and a clock of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = RocksStore(path)
        self.files = StoreFiles(path, "store")
        self.now_s = 0.0
        self.offset = 0

    def write(self, rows: int = 50) -> None:
        self.offset += 1
        self.store.write([(b"t/%d" % n, os.urandom(300)) for n in range(rows)], self.offset)

    def flush(self) -> None:
        self.store._db.flush()

    def look(self, after_s: float = 1.0) -> dict[str, str]:
        self.now_s += after_s
        self.files.look(INTERVAL_S, 1 << 30, self.now_s)
        return self.files.damaged

    def file(self, suffix: str) -> Path:
        return max(
            (path for path in self.path.iterdir() if path.suffix == suffix), key=lambda path: path.stat().st_size
        )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "store")
    disk.write()
    disk.flush()
    disk.write()
    assert disk.look() == {}
    yield disk
    disk.store.close()


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("suffix", [".sst", ".log"])
@pytest.mark.parametrize("at", [0, 100, -1])
def test_byte_of_a_file_flipped_then_damaged_at_the_next_look_and_sound_once_it_is_back(
    disk: Disk, suffix: str, at: int
) -> None:
    path = disk.file(suffix)
    place = at % path.stat().st_size
    flip(path, place)
    assert list(disk.look()) == [path.name]
    assert list(disk.look()) == [path.name]
    flip(path, place)
    assert disk.look() == {}


def test_byte_flipped_in_a_log_that_goes_on_growing_then_damaged_within_the_interval(disk: Disk) -> None:
    path = disk.file(".log")
    flip(path, 60)
    disk.write()
    assert list(disk.look(INTERVAL_S)) == [path.name]


def test_file_cut_short_then_damaged(disk: Disk) -> None:
    path = disk.file(".sst")
    os.truncate(path, path.stat().st_size - 1)
    assert "1 bytes shorter" in disk.look()[path.name]


def test_byte_rotten_without_a_trace_then_damaged_within_the_interval(disk: Disk) -> None:
    path = disk.file(".sst")
    known = disk.files._files[path.name]
    flip(path, 100)
    status = path.stat()
    known.stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    assert disk.look(INTERVAL_S / 2) == {}
    assert list(disk.look(INTERVAL_S)) == [path.name]


def test_store_written_flushed_compacted_reopened_and_wiped_then_never_damaged(disk: Disk) -> None:
    for _ in range(4):
        disk.write(2_000)
        assert disk.look(INTERVAL_S) == {}
        disk.flush()
        assert disk.look() == {}
    disk.store._db.compact_range(None, None)
    assert disk.look() == {}
    disk.store.close()
    disk.store = RocksStore(disk.path)
    disk.write()
    assert disk.look(INTERVAL_S) == {}
    disk.store.wipe()
    disk.write()
    assert disk.look(INTERVAL_S) == {}
    assert disk.files.begun == 1


LIVE = {"table": ".sst", "log": ".log"}


@pytest.mark.parametrize("kind", ["table", "log", "CURRENT", "manifest"])
def test_file_that_the_store_needs_deleted_then_damaged_until_it_is_back(disk: Disk, kind: str) -> None:
    disk.files.live_tables = live_tables
    if kind in LIVE:
        victims = [disk.file(LIVE[kind])]
    else:
        victims = [disk.path / "CURRENT"] if kind == "CURRENT" else list(disk.path.glob("MANIFEST-*"))
    kept = {victim: victim.read_bytes() for victim in victims}
    for victim in victims:
        victim.unlink()
    disk.look()
    damaged = disk.look()
    assert list(damaged) == [victims[0].name]
    assert damaged[victims[0].name].endswith("is gone")
    for victim, content in kept.items():
        victim.write_bytes(content)
    disk.look()
    assert disk.look() == {}


def test_store_merged_and_written_while_it_is_watched_then_no_file_is_missed(disk: Disk) -> None:
    disk.files.live_tables = live_tables
    for _ in range(5):
        disk.write(2_000)
        disk.flush()
        disk.look()
    disk.store._db.compact_range(None, None)
    assert disk.look() == {}
    assert disk.look() == {}
    disk.store.close()
    disk.store = RocksStore(disk.path)
    assert disk.look() == {}
    assert disk.look() == {}


def test_directory_of_a_store_deleted_then_said_after_the_grace_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "risk" / "gate" / "0" / "store"
    store = RocksStore(path)
    store.write([(b"t/1", b"x")], 1)
    fleet = FleetFiles(tmp_path, INTERVAL_S, 1 << 20, live_tables)
    now_s = 1_000.0
    monkeypatch.setattr("auditor.files.time.monotonic", lambda: now_s)
    fleet.look()
    shutil.rmtree(path)
    for passed_s, damaged in ((0.0, False), (GONE_GRACE_S - 1, False), (2.0, True), (500.0, True)):
        now_s += passed_s
        fleet.look()
        assert bool(fleet.damaged()) is damaged
    assert fleet.damaged() == {"risk/gate/0/store": "risk/gate/0/store: the directory is gone"}
    store.close()
    begun = fleet.begun(path)
    RocksStore(path).close()
    fleet.look()
    fleet.look()
    assert fleet.damaged() == {}
    assert begun >= 1


def test_follower_sees_what_the_owner_wrote_when_it_catches_up(disk: Disk, tmp_path: Path) -> None:
    follower = StoreFollower(disk.path, tmp_path / "scratch")
    disk.store.write([(b"t/1", b"new"), (b"u/1", b"other")], 9)
    assert follower.get(b"t/1") != b"new"
    follower.catch_up()
    assert follower.get(b"t/1") == b"new"
    assert list(follower.prefix(b"u/")) == [(b"u/1", b"other")]
    assert next(key for key, _ in follower.prefix(b"t/", b"t/9")) == b"t/9"
    follower.close()


def test_follower_of_a_file_with_a_wrong_checksum_then_an_error_of_the_system(disk: Disk, tmp_path: Path) -> None:
    flip(disk.file(".sst"), 100)
    follower = StoreFollower(disk.path, tmp_path / "scratch")
    with pytest.raises(OSError, match="Corruption"):
        list(follower.prefix(b"t/"))
    with pytest.raises(OSError, match="Corruption"):
        list(read_store(disk.path))
