"""A stage as an operator sees it: what its changelog says of each partition, what the store beside it says, and whether
both agree; and the two things that can be done to it by hand.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from common.contracts.topics import RUNTIME_OPERATIONS, TOPICS, Topic
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Log, Partition, Record
from streams.opening.beginning import shut_out
from streams.opening.claims import Claims, is_ownership
from streams.opening.layout import Kept
from streams.state.log_rows import LOG_KEY, log_key, meant_for
from streams.state.store import (
    CHANGELOG_KEY,
    LANDMARK_KEY,
    LAYOUT_KEY,
    POSITION_PREFIX,
    STORE_ONLY,
    RocksStore,
    destroy,
    position_key,
    read_row,
    read_store,
)

from tidemark.console import CommandError
from tidemark.operations import Operation, carry_out

Rows = Mapping[bytes, bytes]
CHANGELOG_SUFFIX: Final = ".changelog"
POLL_MS: Final = 200
STALLS_S: Final = 20.0
DIFFERENCES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class StageName:
    """``{app}.{stage}``, which is also its consumer group."""

    full: str
    changelog: Topic

    def store_path(self, data_dir: Path, partition: int) -> Path:
        """As ``Stage.store_path`` has it."""
        return data_dir.joinpath(*self.full.split("."), str(partition), "store")

    def operation(self, what: str, partition: int, reason: str, **details: object) -> Operation:
        """Record of the operation."""
        return Operation(f"stage/{self.full}/{partition}/{time.time_ns()}", what, reason, details)


def stages() -> dict[str, StageName]:
    """Every stage with a changelog of rows and positions."""
    logs = [topic for topic in TOPICS if topic.name.endswith(CHANGELOG_SUFFIX)]
    return {name: StageName(name, topic) for topic in logs for name in [topic.name.removesuffix(CHANGELOG_SUFFIX)]}


def stage_named(name: str) -> StageName:
    """Raises CommandError, naming those there are."""
    try:
        return stages()[name]
    except KeyError:
        raise CommandError(f"there is no stage {name!r}; there are {', '.join(stages())}") from None


# --- looking -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fold:
    """A changelog partition up to an offset: the newest value of every key."""

    end: int
    begin: int = 0
    rows: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def positions(self) -> dict[str, int]:
        """Topic → next offset to read."""
        found = self.rows.items()
        return {
            key.removeprefix(POSITION_PREFIX).decode(): int(v) for key, v in found if key.startswith(POSITION_PREFIX)
        }

    @property
    def identity(self) -> str:
        """Cluster id and topic id of the changelog that the last commit was meant for."""
        return self.rows.get(LOG_KEY, b"").split(b" ")[0].decode()

    @property
    def layout(self) -> str:
        """Which layout the rows of the tables have, by number; empty where that was never said."""
        if (raw := self.rows.get(LAYOUT_KEY)) is None:
            return ""
        try:
            kept = msgspec.json.decode(raw, type=Kept)
        except msgspec.MsgspecError:
            return "cannot be read"
        return f"{kept.version}, growing" if kept.growing else str(kept.version)

    def tables(self) -> int:
        """Rows of tables."""
        return sum(not key.startswith(b"@") for key in self.rows)


async def fold(log: Log, changelog: Partition, end: int | None = None) -> Fold:
    """Raises CommandError where a transaction that is open keeps it from being read."""
    folded = Fold(await log.high_watermark(changelog) if end is None else end, await log.low_watermark(changelog))
    reader = await log.read(changelog, folded.begin)
    moved_s, last = time.monotonic(), reader.position
    try:
        while reader.position < folded.end:
            for record in await reader.poll(POLL_MS):
                if record.key is None or record.offset >= folded.end:
                    continue
                if record.value is None:
                    folded.rows.pop(record.key, None)
                else:
                    folded.rows[record.key] = record.value
            if reader.position != last:
                moved_s, last = time.monotonic(), reader.position
            elif time.monotonic() - moved_s > STALLS_S:
                raise CommandError(f"{changelog} cannot be read beyond {last}: a transaction is open there")
    finally:
        await reader.close()
    return folded


@dataclass(frozen=True, slots=True)
class PartitionState:
    """``lag``: topic → messages not handled yet. ``store``: the offset that it is complete up to; None: not here."""

    number: int
    identity: str
    begin: int
    end: int
    rows: int
    positions: Mapping[str, int]
    lag: Mapping[str, int]
    owner: str
    store: int | None
    landmark: str
    layout: str = ""


async def look(log: Log, stage: StageName, number: int, data_dir: Path | None) -> PartitionState:
    """How a partition stands; nothing is changed."""
    changelog = Partition(stage.changelog.name, number)
    found = await fold(log, changelog)
    lag = {}
    for topic, position in found.positions.items():
        lag[topic] = await log.high_watermark(Partition(topic, number)) - position
    claims = Claims()
    for key, value in found.rows.items():
        if is_ownership(key):
            claims.note(key, value)
    store, landmark = None, ""
    if data_dir and (path := stage.store_path(data_dir, number)).is_dir():
        try:
            store = int(read_row(path, CHANGELOG_KEY) or 0)
            if mark := read_row(path, LANDMARK_KEY):
                offset, epoch, *_ = mark.split(b" ")
                landmark = f"{int(offset)} (epoch {int(epoch)})"
        except OSError as error:
            landmark = str(error)
    rows = found.tables()
    log_of, owner = (found.identity, found.begin, found.end, rows), claims.owner
    return PartitionState(number, *log_of, found.positions, lag, owner, store, landmark, found.layout)


async def verify(log: Log, stage: StageName, number: int, data_dir: Path) -> list[str]:
    """Differences between store and changelog at the offset that the store is complete up to; read only.

    Raises CommandError where there is no store, or none that can be read.
    """
    path = stage.store_path(data_dir, number)
    if not path.is_dir():
        raise CommandError(f"there is no store {path}")
    try:
        kept = dict(read_store(path))
    except Exception as error:  # rocksdict raises bare Exception
        raise CommandError(f"{path} cannot be read: {error}") from error
    complete = int(kept.get(CHANGELOG_KEY, b"0"))
    changelog = Partition(stage.changelog.name, number)
    if (end := await log.high_watermark(changelog)) < complete:
        return [f"{changelog} ends at {end}, and the store has it up to {complete}"]
    folded = await fold(log, changelog, complete)
    newer = await fold(log, changelog)  # rows of commits between which somebody else wrote are in the store already
    return list(_differences(kept, folded.rows, newer.rows))


def _differences(
    kept: Mapping[bytes, bytes], folded: Mapping[bytes, bytes], newer: Mapping[bytes, bytes]
) -> Iterator[str]:
    for key in sorted(kept.keys() | folded.keys()):
        if key in STORE_ONLY or is_ownership(key):
            continue
        if kept.get(key) not in (folded.get(key), newer.get(key)):
            yield f"{key!r}: the store has {kept.get(key)!r}, the changelog {folded.get(key)!r}"


# --- doing ---------------------------------------------------------------------------------------------------------


async def discard_store(log: Log, stage: StageName, number: int, data_dir: Path, reason: str, topic: Topic) -> None:
    """Removes the store of a worker that does not run; its next start restores it from the changelog."""
    path = stage.store_path(data_dir, number)
    if not path.is_dir():
        raise CommandError(f"there is no store {path}")
    with _held(path):
        await carry_out(log, stage.operation("store discarded", number, reason), {}, topic=topic)
    destroy(path)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keeps a worker from opening the store meanwhile. Raises CommandError where one has it open."""
    store = None
    try:
        store = RocksStore(path)
    except OSError as error:
        if "lock" in str(error).lower():
            raise CommandError(f"{path} is open: stop the worker first") from error
        # One that cannot be opened otherwise is what this command is for.
    try:
        yield
    finally:
        if store:
            store.close()


@dataclass(frozen=True, slots=True)
class Move:
    """An input position that is to be moved."""

    topic: str
    partition: int
    before: int | None
    to: int
    begin: int
    end: int

    def meaning(self) -> str:
        """Consequence, for whoever has to answer for it."""
        where = f"{self.topic}/{self.partition}"
        if self.before is None:
            return f"{where} was never read; it will be from {self.to} on"
        if self.to < self.before:
            count = self.before - self.to
            return (
                f"{where} goes BACK from {self.before} to {self.to}: up to {count} messages are handled once more, and "
                "what they lead to is written once more, unless the stage itself knows their ids"
            )
        if self.to > self.before:
            count = self.to - self.before
            return f"{where} goes FORWARD from {self.before} to {self.to}: up to {count} messages are never handled"
        return f"{where} stays at {self.to}; only which log it is of is written anew"


async def plan(log: Log, stage: StageName, number: int, topic: str, to: int | None) -> Move:
    """``to`` None: the oldest offset that the input keeps. Raises CommandError where it cannot be done."""
    found = await fold(log, Partition(stage.changelog.name, number))
    if not found.tables():
        raise CommandError(
            f"{stage.full} keeps no rows in {stage.changelog.name}/{number}: its state is made from the input itself, "
            "and would not be that of another position"
        )
    if topic not in found.positions:
        raise CommandError(f"{stage.full} does not read {topic}; it reads {', '.join(sorted(found.positions))}")
    source = Partition(topic, number)
    begin, end = await log.low_watermark(source), await log.high_watermark(source)
    target = begin if to is None else to
    if not begin <= target <= end:
        raise CommandError(f"{topic}/{number} has the offsets {begin} to {end}, and {target} is none of them")
    return Move(topic, number, found.positions.get(topic), target, begin, end)


async def seek(log: Log, stage: StageName, move: Move, reason: str, topic: Topic = RUNTIME_OPERATIONS) -> None:
    """Moves the position in the changelog, after shutting out who owned the partition.

    The stage must not run: whoever owns the partition would open anew at once, before this is committed.
    """
    number = move.partition
    changelog = Partition(stage.changelog.name, number)
    await shut_out(log, stage.full, changelog)
    end, now_ms = await log.high_watermark(changelog), time.time_ns() // 1_000_000
    rows = [
        meant_for(await log.identity(changelog.topic), end),
        (log_key(move.topic), (await log.identity(move.topic)).encode()),
        (position_key(move.topic), b"%d" % move.to),
    ]
    details = {"topic": move.topic, "from": move.before, "to": move.to}
    operation = stage.operation("position moved", number, reason, **details)
    await carry_out(log, operation, {changelog: [Record(key, value, now_ms) for key, value in rows]}, topic=topic)


async def count_partitions(log: KafkaLog, stage: StageName) -> list[int]:
    """Numbers of the partitions there are."""
    return list(range(await log.partition_count(stage.changelog.name)))


async def gathered(log: KafkaLog, stage: StageName, numbers: list[int], data_dir: Path | None) -> list[PartitionState]:
    """States of several partitions, looked at side by side."""
    return list(await asyncio.gather(*(look(log, stage, number, data_dir) for number in numbers)))
