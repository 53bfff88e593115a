"""The declaration of a stage: its topics, tables and handlers, and the names that follow from them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.model.blocks import Answers
from streams.model.log import Partition, Records, StoredRecord
from streams.model.message import Handled, Message, View
from streams.model.row_check import RowCheck
from streams.model.tables import (
    FIRST_VERSION,
    Changelogged,
    Global,
    Migration,
    Snapshotted,
    TableDeclaration,
    Tables,
    Verify,
)
from streams.model.topics import Topic
from streams.process.settings import Settings

Handler = Callable[[Message, Tables, int], Handled]
BatchHandler = Callable[[Sequence[Message], Tables, int], Iterator[Answers | int]]
"""Goes through a batch: answers to the next messages at once, or how many of the next ones are the handler's.

Where it raises, the whole batch is the handler's: it finds the message that is to be refused, if there is one.
"""
RowRecords = Callable[[Sequence[tuple[bytes, bytes | None]], int], Records]
"""The records, with a timestamp in ms, that changelog rows are written as."""
Continues = Callable[[Tables, StoredRecord | None], None]
"""Holds a stage's state to the last committed record of an output, of the task's own partition number (None: there is
none). Raises ValueError where what the stage would write next does not continue it."""


def rows_one_by_one(rows: Sequence[tuple[bytes, bytes | None]], timestamp_ms: int) -> Records:
    """A record for each row."""
    return [(key, value, timestamp_ms, ()) for key, value in rows]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as ``@app.stage`` declared it."""

    app: str
    name: str
    handler: Handler
    inputs: tuple[Topic, ...]
    outputs: tuple[Topic, ...]
    changelog: Topic
    tables: tuple[TableDeclaration, ...] = ()
    views: Callable[[Tables], Iterable[View]] | None = None
    shows: Mapping[str, Callable[[bytes], View]] = field(default_factory=dict)
    verify: Verify = field(default_factory=dict)
    batch_handler: BatchHandler | None = None
    continues: Mapping[Topic, Continues] = field(default_factory=dict)
    register: Topic | None = None
    """Topic that names the partitions that were ever worked on; without it an empty changelog is a beginning."""
    version: int = FIRST_VERSION
    """Version of the layout of all changelogged tables' rows; raised with a migration from the one before."""
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    """Version → how its rows become those of the next one."""
    fences: Topic | None = None
    """Topic in which an auditor says that partitions must stand still; without it nobody can."""
    rest: float = 0.0
    """How long its producer rests after a commit, in times of what the commit took; 0 where somebody waits for it."""
    missing: frozenset[str] = frozenset()
    """Dead-letter topics that were not created."""
    reads_framed: Mapping[Topic, int] = field(default_factory=dict)
    """Input → the schema whose framed values its handlers read themselves; of another schema they get the text."""

    row_records: RowRecords = rows_one_by_one
    """How its changelog rows are written: a stage that has numba lays them out in columns."""

    @property
    def full_name(self) -> str:
        return f"{self.app}.{self.name}"

    @property
    def written(self) -> list[Topic]:
        """Topics of its outputs and of its dead letters."""
        return [*self.outputs, *(topic.dead_letter_topic for topic in self.inputs)]

    def writes(self, partition: int) -> list[Partition]:
        """Everywhere a task's transaction may write."""
        outputs = [Partition(topic.name, number) for topic in self.outputs for number in range(topic.partitions)]
        dead_letters = [topic.dead_letters for topic in self.inputs if topic.dead_letters not in self.missing]
        set_aside = [Partition(name, partition) for name in dead_letters]
        register = [Partition(self.register.name, 0)] if self.register else []
        return [Partition(self.changelog.name, partition), *outputs, *set_aside, *register]

    def task_id(self, partition: int) -> str:
        """Transactional id of the producer that serves this partition and no other."""
        return f"{self.full_name}.{partition}"

    def registered(self, partition: int) -> tuple[Partition, bytes] | None:
        """The partition and key under which the register names a partition of this stage."""
        return (Partition(self.register.name, 0), self.task_id(partition).encode()) if self.register else None

    def process_id(self, worker_id: str) -> str:
        """Transactional id of the producer that serves every partition of a worker."""
        return f"{self.full_name}.worker.{worker_id}"

    def store_path(self, settings: Settings, partition: int) -> Path:
        """Directory of the partition's store in a process, whether it serves the partition or follows it."""
        return settings.data_dir / self.app / self.name / str(partition) / "store"

    def row_check(self, *, strict: bool = False) -> RowCheck | None:
        """The check that restored rows are held to; ``strict``: those of every table must be decodable."""
        return RowCheck(self.changelogged(), self.verify, every=strict) if self.verify or strict else None

    def changelogged(self) -> list[Changelogged]:
        return [table for table in self.tables if isinstance(table, Changelogged)]

    def snapshotted(self) -> Snapshotted[Any] | None:
        return next((table for table in self.tables if isinstance(table, Snapshotted)), None)

    def globals(self) -> list[Global]:
        return [table for table in self.tables if isinstance(table, Global)]
