"""Global tables: the newest value per key of a compacted topic, in every process, complete before the first message."""

import asyncio
from collections.abc import Iterator
from typing import Any

from streams.model.errors import LogError, Retriable
from streams.model.log import POLL_MS, RESTORE_POLL_MS, Log, Partition, Reader
from streams.model.tables import Global, GlobalRow
from streams.process.logs import get_logger

_log = get_logger(__name__)
RETRY_S = 1.0


class GlobalView:
    """See ``tables.GlobalTable``. Undecodable rows are left out and counted by the log line."""

    def __init__(self, declaration: Global) -> None:
        self.declaration = declaration
        self._rows: dict[bytes, GlobalRow] = {}

    def get(self, key: bytes) -> GlobalRow | None:
        return self._rows.get(key)

    def items(self) -> Iterator[tuple[bytes, GlobalRow]]:
        return iter(self._rows.items())

    def put(self, key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
        """Takes one record; a tombstone removes the row."""
        if key is None:
            return
        if value is None:
            self._rows.pop(key, None)
            return
        try:
            self._take(key, value, partition, offset)
        except ValueError as error:
            _log.error("global_row_refused", topic=self.declaration.topic.name, offset=offset, error=str(error))

    def _take(self, key: bytes, value: bytes, partition: int, offset: int) -> None:
        """Raises ValueError where the record is none of the topic's."""
        decoded: Any = self.declaration.topic.schema.decode(value)
        self._rows[key] = GlobalRow(decoded, partition, offset)


class GlobalFollower:
    """Reads the topic of one global table for ever; ``complete`` is set once it has caught up for the first time."""

    def __init__(self, declaration: Global, log: Log, view: GlobalView | None = None) -> None:
        self.view = view or GlobalView(declaration)
        self.complete = asyncio.Event()
        self._log = log
        self._topic = declaration.topic
        self._missing = 0
        """Partitions that have not caught up yet."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._missing = self._topic.partitions
        for number in range(self._topic.partitions):
            partition = Partition(self._topic.name, number)
            self._tasks.append(asyncio.create_task(self._follow(partition), name=f"global {partition}"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, partition: Partition) -> None:
        caught_up = False
        position = 0
        while True:
            reader: Reader | None = None
            try:
                end = await self._log.high_watermark(partition)
                position = max(position, await self._log.low_watermark(partition))
                reader = await self._log.read(partition, position)
                while True:
                    if not caught_up and reader.position >= end:
                        caught_up = True
                        self._missing -= 1
                        if not self._missing:
                            self.complete.set()
                    for record in await reader.poll(POLL_MS if caught_up else RESTORE_POLL_MS):
                        self.view.put(record.key, record.value, partition.number, record.offset)
                    position = reader.position
            except Retriable as error:
                _log.warning("global_table_interrupted", topic=partition.topic, error=str(error))
                await asyncio.sleep(RETRY_S)
            except LogError as error:
                _log.error("global_table_failed", topic=partition.topic, error=str(error))
                raise
            finally:
                if reader is not None:
                    await reader.close()
