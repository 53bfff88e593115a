"""Committed records of whole topics, outside any stage: for tails, projections, the audit and the command line."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from streams.kafka.held_back import BlockWatch
from streams.kafka.kafka_log import KafkaLog, KafkaReader
from streams.model.log import POLL_MS, Partition
from streams.model.message import Message
from streams.model.topics import Topic
from streams.process.settings import Settings
from streams.state.framed_reader import reader_of

QUEUE_BATCHES_MAX = 16
HELD_BACK_S = 1.0
"""A reader that waits longer than this for an open transaction may lack what others have committed behind it."""
_Batch = tuple[tuple[str, int], int, list[Message]]
"""(topic, partition), the position after what was read there, the records."""


class CommittedReader:
    """Reads every partition of ``topics``, committed records only, each partition in order.

    Starts at the beginning, at the end as it is on entering, or at ``positions`` ((topic, partition) → offset;
    partitions not named there start at the beginning). Raises Fatal on entering where a topic does not exist.
    ``only``: these partition numbers are read, instead of all.
    ``pace_s``: a partition that had records is not asked again before; whoever need not be the first to know reads
    what little each commit brings in fewer and larger fetches.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[Topic],
        *,
        from_beginning: bool = False,
        positions: Mapping[tuple[str, int], int] | None = None,
        client_id: str = "reader",
        pace_s: float = 0.0,
        only: frozenset[int] | None = None,
    ) -> None:
        self._settings = settings
        self._log = KafkaLog(settings, client_id)
        self._topics = tuple(topics)
        self._from_beginning = from_beginning or positions is not None
        self._starts = positions or {}
        self._only = only
        self._readers: dict[tuple[Topic, int], KafkaReader] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self._pace_s = pace_s
        self._queue: asyncio.Queue[_Batch | None] = asyncio.Queue(QUEUE_BATCHES_MAX)
        self._left: Sequence[Message] = ()
        self._fresh_ns: dict[tuple[str, int], int] = {}
        self._through_ns = 0
        self._pumps: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._log.start()
        for topic in self._topics:
            numbers = range(await self._log.partition_count(topic.name))
            for number in numbers if self._only is None else sorted(self._only & set(numbers)):
                partition = Partition(topic.name, number)
                low = await self._log.low_watermark(partition)
                start = max(low, self._starts.get((topic.name, number), low))
                if not self._from_beginning:
                    self._fresh_ns[topic.name, number] = time.time_ns()
                    start = await self._log.high_watermark(partition)
                self._readers[topic, number] = await self._log.read(partition, start)
                self._positions[topic.name, number] = start
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for reader in self._readers.values():
            await reader.close()
        await self._log.stop()

    def blocks(self, app: str, name: str, after_s: float) -> BlockWatch:
        """Watch over the transactions that hold this reader back."""
        return BlockWatch(self._log, app, name, after_s)

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → offset after everything that was handed out, markers and aborted records included."""
        return dict(self._positions)

    @property
    def gathered(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → offset after all that ``gather`` returned, markers and aborted records included."""
        left = {(message.topic.name, message.partition): message.offset for message in reversed(self._left)}
        return self._positions | left

    async def ends(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → the high watermark now."""
        return {
            (topic.name, number): await self._log.high_watermark(Partition(topic.name, number))
            for topic, number in self._readers
        }

    async def offsets_at(self, at_ms: int) -> dict[tuple[str, int], int]:
        """(topic, partition) → the first record of ``at_ms`` or later; the high watermark where there is none.

        All records before it are older; where the clocks of a partition's writers differ, some behind it may be, too.
        """
        found = await self.ends()
        for name, number in found:
            if (offset := await self._log.offset_at(Partition(name, number), at_ms)) is not None:
                found[name, number] = offset
        return found

    async def batches(self, until_idle_s: float | None = None) -> AsyncIterator[Sequence[Message]]:
        """Yields what arrives. Ends when nothing came for ``until_idle_s``; never, if that is None."""
        while (messages := await self._next(until_idle_s)) is not None:
            if messages:
                yield messages

    async def batches_until(self, ends: Mapping[tuple[str, int], int]) -> AsyncIterator[Sequence[Message]]:
        """Yields what arrives until every partition has reached its end; the last batch of one may reach beyond."""
        while any(self._positions[place] < end for place, end in ends.items()):
            if messages := await self._next(None):
                yield messages

    def read_through_ns(self) -> int:
        """Time since the epoch up to which every record that was committed has been handed out; 0: not known yet.

        It stands still while something waits to be handed out, where a broker does not answer, and where an open
        transaction holds a partition back.
        """
        if self._queue.empty() and not self._left:
            self._through_ns = min((self._fresh_ns.get((topic.name, n), 0) for topic, n in self._readers), default=0)
        return self._through_ns

    async def gather(self, records_max: int, until_idle_s: float | None = None) -> Sequence[Message]:
        """Waits for a record, then takes what else has arrived: of several partitions, each in order, at most so many.

        What is left over comes next time, so ``positions`` may be ahead of what was handed out. Returns nothing where
        nothing came for ``until_idle_s``.
        """
        gathered = list(self._left)
        while not gathered or (len(gathered) < records_max and not self._queue.empty()):
            if (batch := await self._next(until_idle_s)) is None:
                break
            gathered += batch
        self._left = gathered[records_max:]
        return gathered[:records_max]

    async def _next(self, timeout_s: float | None) -> Sequence[Message] | None:
        """The next batch, empty where only markers or aborted records came; None where nothing came in time."""
        if not self._pumps:
            self._start_pumps()
        if self._queue.empty():
            self.read_through_ns()  # noted before it waits: when somebody asks, the next records may be here already
            for pump in self._pumps:
                if pump.done():
                    pump.result()
        try:
            async with asyncio.timeout(timeout_s):
                batch = await self._queue.get()
        except TimeoutError:
            return None
        if batch is None:
            return ()
        place, position, messages = batch
        self._positions[place] = position
        return messages

    def _start_pumps(self) -> None:
        for (topic, number), reader in self._readers.items():
            pump = asyncio.create_task(self._pump(topic, number, reader), name=f"read {topic.name}/{number}")
            pump.add_done_callback(self._wake)
            self._pumps.append(pump)

    def _wake(self, _pump: asyncio.Task[None]) -> None:
        """One pump has ended. A full queue will be emptied, and then it is looked at."""
        if not self._queue.full():
            self._queue.put_nowait(None)

    async def _pump(self, topic: Topic, number: int, reader: KafkaReader) -> None:
        place = (topic.name, number)
        texts = reader_of(topic, reader, self._settings)
        position = texts.position
        while True:
            asked_ns = time.time_ns()
            records = await texts.poll(POLL_MS)
            # Of records only their own time is certain: more may lie behind those that one answer has room for.
            fresh_ns = min(records[-1].timestamp * 1_000_000, time.time_ns()) if records else asked_ns
            held = reader.held_back
            is_held_back = held is not None and time.monotonic() - held.since_s >= HELD_BACK_S
            if records or not (is_held_back or texts.awaited):
                self._fresh_ns[place] = max(self._fresh_ns.get(place, 0), fresh_ns)
            if records or texts.position != position:
                position = texts.position
                messages = [Message(topic, number, r.offset, r.key, r.value, r.timestamp, r.headers) for r in records]
                await self._queue.put((place, position, messages))
                if self._pace_s:
                    await asyncio.sleep(self._pace_s)
