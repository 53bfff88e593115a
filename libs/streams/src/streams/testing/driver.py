"""Drives stages in a test as a worker would, without a broker: on a log, stores and a clock in memory.

What a test sends is handled, committed and read by the same code that a worker runs; only the broker, RocksDB and Redis
are replaced. Every call returns when everything that follows from it is committed, so a test needs no waiting:

    with StageDriver(app.stages) as driver:
        driver.send(LINES, "to be or not to be")
        assert driver.rows("count", "totals")[b"be"] == 2
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from streams.commit.transaction import Committed
from streams.group.assignment import Assignment
from streams.kafka.partitioner import partition_of
from streams.model.declaration import Stage
from streams.model.log import Partition, Record, StoredRecord
from streams.model.message import Message, View
from streams.model.tables import Tables
from streams.model.topics import Topic
from streams.process.settings import RedisSettings, RestartSettings, Settings
from streams.stage.runner import StageRunner
from streams.state.globals import GlobalView
from streams.state.store import row_key
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore
from streams.views.publisher import as_it_stands

SETTLES_WITHIN_S: Final = 10.0
NS_PER_MS: Final = 1_000_000


class Unsettled(AssertionError):
    """The messages could not be handled: a partition is refused, or the stage does not come to an end."""


class _Everything:
    """Assigns every partition of a stage to the one worker that there is. See ``runner.Assignments``."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._said = False

    async def changed(self) -> Assignment:
        if self._said:
            await asyncio.Event().wait()
        self._said = True
        return Assignment(frozenset(range(self._partitions)))

    def unable(self, partitions: frozenset[int]) -> None:
        """Nobody else could serve them."""


class _Views:
    """The newest data of each view row that commits have shown. See ``publisher.Publisher``."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], Any] = {}
        self._tables: dict[tuple[str, ...], Tables] = {}

    def open(self, task: tuple[str, ...], tables: Tables, refill: Callable[[Tables], Iterable[View]], *_: Any) -> None:
        self._tables[task] = tables
        for view in refill(tables):
            self._show(view, tables)

    def close(self, task: tuple[str, ...]) -> None:
        self._tables.pop(task, None)

    def publish(self, task: tuple[str, ...], committed: Committed) -> None:
        for view, _traceparent in committed.views:
            self._show(view, self._tables[task])

    def _show(self, view: View, tables: Tables) -> None:
        data = as_it_stands(view, tables).data
        if data is None:
            self.rows.pop((view.name, view.scope, view.key), None)
        else:
            self.rows[view.name, view.scope, view.key] = data


class StageDriver:
    """The stages of an application in one process. A context manager; or call ``close``."""

    def __init__(self, stages: Iterable[Stage], *, now_ns: int = 0) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.now_ns = now_ns
        """Time as handlers see it; ``advance`` moves it."""
        self._loop = asyncio.new_event_loop()
        self._log = MemoryLog({name: topic.partitions for name, topic in self._topics().items()})
        self._directory = tempfile.TemporaryDirectory(prefix="streams-driver-")
        self._settings = Settings(
            data_dir=Path(self._directory.name),
            worker_id="driver",
            producers="task",
            redis=RedisSettings(url=""),
            restart=RestartSettings(backoff_min_s=0.001, backoff_max_s=0.01),
        )
        self._stores: dict[Path, MemoryStore] = {}
        self._views = _Views()
        self._read: dict[Partition, int] = {}
        self._runners: dict[str, StageRunner] = {}
        self._running: list[asyncio.Task[None]] = []
        self._globals: list[tuple[GlobalView, dict[int, int]]] = []
        """Global views of every stage, each with the offset up to which every partition of its topic was taken."""
        self._start()

    def _topics(self) -> Mapping[str, Topic]:
        found: dict[str, Topic] = {}
        for stage in self.stages.values():
            dead_letters = (topic.dead_letter_topic for topic in stage.inputs)
            shared = (table.topic for table in stage.globals())
            register = () if stage.register is None else (stage.register,)
            for topic in (*stage.inputs, *dead_letters, *stage.outputs, *shared, *register, stage.changelog):
                found[topic.name] = topic
        return found

    # --- what a test does ------------------------------------------------------------------------------------------

    def send(
        self, topic: Topic, body: Any, key: bytes | None = None, *, partition: int | None = None, timestamp_ms: int = 0
    ) -> None:
        """Writes a record as a producer of another application would; ``body`` is encoded by the topic's schema.

        Without ``partition`` the key's hash chooses, and 0 is taken where there is no key.
        """
        self.send_value(topic, topic.schema.encode(body), key, partition=partition, timestamp_ms=timestamp_ms)

    def send_value(
        self, topic: Topic, value: bytes | None, key: bytes | None = None, *, partition: int | None = None, **more: int
    ) -> None:
        """The same with the record's bytes: a tombstone, or what the schema refuses."""
        number = partition if partition is not None else partition_of(key, topic.partitions) if key else 0
        self._log.put(Partition(topic.name, number), Record(key, value, more.get("timestamp_ms", 0)))
        self._settle()

    def advance(self, *, by_ns: int) -> None:
        """Lets time pass. Nothing happens by that alone: a handler is told of the time with its next message."""
        self.now_ns += by_ns

    def restart(self, *, without_stores: bool = False) -> None:
        """The worker ends and comes back; ``without_stores``: on another machine, with the log alone."""
        self._stop()
        if without_stores:
            self._stores.clear()
        self._start()

    # --- what a test sees ------------------------------------------------------------------------------------------

    def read(self, topic: Topic) -> list[Message]:
        """Records that were committed since the topic was last read, partition after partition."""
        found = []
        for number in range(topic.partitions):
            place = Partition(topic.name, number)
            start = self._read.get(place, 0)
            found += [_message(topic, number, record) for record in self._log.stored(place, start)]
            self._read[place] = self._log.stable_end(place)
        return found

    def dead_letters(self, topic: Topic) -> list[Message]:
        """Messages of an input topic that were refused since this was last asked."""
        return self.read(topic.dead_letter_topic)

    def rows(self, stage: str, table: str) -> dict[bytes, Any]:
        """All rows of a changelogged table, of every partition."""
        declared = next(each for each in self.stages[stage].changelogged() if each.name == table)
        prefix = row_key(table, b"")
        return {
            key.removeprefix(prefix): declared.codec.decode(raw)
            for number in range(self.stages[stage].changelog.partitions)
            for key, raw in self._store(self.stages[stage].store_path(self._settings, number)).prefix(prefix)
        }

    @property
    def views(self) -> Mapping[tuple[str, str, str], Any]:
        """Name, scope and key of each view row that is shown → its data."""
        return self._views.rows

    # --- life ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends the stages. What is sent afterwards is an error."""
        if not self._loop.is_closed():
            self._stop()
            self._loop.close()
            self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _store(self, path: Path) -> MemoryStore:
        return self._stores.setdefault(path, MemoryStore())

    def _discard(self, path: Path) -> None:
        self._stores.pop(path, None)

    def _start(self) -> None:
        self._views.rows.clear()
        for name, stage in self.stages.items():
            views = {table.name: GlobalView(table) for table in stage.globals()}
            self._globals += [(view, {}) for view in views.values()]
            self._runners[name] = StageRunner(
                stage,
                self._settings,
                self._log,
                views,
                self._views,
                self._store,
                lambda: self.now_ns,
                self._discard,
            )
        self._fill_globals()
        for runner in self._runners.values():
            everything = _Everything(runner.stage.changelog.partitions)
            self._running.append(self._loop.create_task(runner.follow(everything), name=runner.stage.full_name))
        self._settle()

    def _stop(self) -> None:
        self._loop.run_until_complete(self._end())
        self._runners.clear()
        self._running.clear()
        self._globals.clear()

    async def _end(self) -> None:
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for runner in self._runners.values():
            await runner.close()

    # --- until nothing is left to do -------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._fill_globals()
        self._loop.run_until_complete(self._until_handled())

    async def _until_handled(self) -> None:
        try:
            async with asyncio.timeout(SETTLES_WITHIN_S):
                while waiting := self._waiting():
                    await asyncio.sleep(0)
                    self._fill_globals()
                    for running in self._running:
                        if running.done():
                            running.result()
        except TimeoutError as error:
            raise Unsettled(f"not handled after {SETTLES_WITHIN_S:.0f} s: {waiting}") from error

    def _waiting(self) -> str:
        """Messages that are not handled yet; empty where everything is. Raises Unsettled."""
        for runner in self._runners.values():
            stage = runner.stage
            for number in range(stage.changelog.partitions):
                task = runner.tasks.get(number)
                if task is None or task.progress.state != "running":
                    if task is not None and task.progress.state == "refused":
                        raise Unsettled(f"{stage.full_name} refuses partition {number}: {task.progress.reason}")
                    return f"{stage.full_name} opens partition {number}"
                for topic in stage.inputs:
                    place = Partition(topic.name, number)
                    if self._log.stored(place, task.positions.get(topic.name, 0)):
                        return f"{stage.full_name} has not handled {place}"
        return ""

    def _fill_globals(self) -> None:
        for view, taken in self._globals:
            topic = view.declaration.topic
            for number in range(topic.partitions):
                place = Partition(topic.name, number)
                for record in self._log.stored(place, taken.get(number, 0)):
                    view.put(record.key, record.value, number, record.offset)
                taken[number] = self._log.stable_end(place)


def _message(topic: Topic, number: int, record: StoredRecord) -> Message:
    return Message(topic, number, record.offset, record.key, record.value, record.timestamp, record.headers)
