"""Operations on stages and dead letters: done in one transaction with the record of it, so at most once.

One hand at a time: whoever comes later shuts an earlier one out before it looks at what was done already.
"""

import asyncio
import getpass
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from common.contracts.topics import AUDITOR_FENCES, ORDERS_INTENTS, RUNTIME_OPERATIONS, Topic
from streams.kafka.admin import create_beside
from streams.kafka.kafka_log import KafkaLog
from streams.model.errors import Fatal
from streams.model.log import Log, Partition, Record
from streams.process.settings import Settings

from tidemark.console import CommandError

READ_WITHIN_S: Final = 30.0
POLL_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """``key`` names what it was done to, so that the newest record of a key tells what became of that."""

    key: str
    what: str
    reason: str
    details: Mapping[str, Any]
    by: str = ""
    at_ns: int = 0

    def encoded(self) -> bytes:
        """As it is written now, by whoever runs the command."""
        by = f"{getpass.getuser()}@{socket.gethostname()}"
        row = {"what": self.what, "reason": self.reason, "by": by, "at_ns": time.time_ns(), "details": self.details}
        return json.dumps(row).encode()


@asynccontextmanager
async def operators_log(settings: Settings, beside: Topic = ORDERS_INTENTS) -> AsyncIterator[KafkaLog]:
    """A connection to the log. The topics of operations and fences are made where an older topics job did not."""
    log = KafkaLog(settings, "tidemark-cli")
    await log.start()
    try:
        for topic in (RUNTIME_OPERATIONS, AUDITOR_FENCES):
            try:
                await log.partition_count(topic.name)
            except Fatal:
                await create_beside(settings.kafka.bootstrap, topic, beside.name)
        yield log
    finally:
        await log.stop()


async def newest_records(log: Log, topic: Topic) -> dict[str, bytes]:
    """Key → its newest value, of a compacted topic of one partition."""
    where = Partition(topic.name, 0)
    end = await log.high_watermark(where)
    reader = await log.read(where, await log.low_watermark(where))
    found: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            while reader.position < end:
                for record in await reader.poll(POLL_MS):
                    key = (record.key or b"").decode()
                    if record.value is None:
                        found.pop(key, None)
                    else:
                        found[key] = record.value
    except TimeoutError as error:
        raise CommandError(f"{where.topic} cannot be read to its end; is a transaction open there?") from error
    finally:
        await reader.close()
    return found


async def done_before(log: Log, topic: Topic = RUNTIME_OPERATIONS) -> dict[str, Operation]:
    """Key → its newest operation."""
    return {key: Operation(key, **json.loads(row)) for key, row in (await newest_records(log, topic)).items()}


async def carry_out(
    log: Log,
    operation: Operation,
    writes: Mapping[Partition, Sequence[Record]],
    *,
    once: bool = False,
    topic: Topic = RUNTIME_OPERATIONS,
) -> Mapping[Partition, int]:
    """Commits the records and that it was done; returns the end of each partition.

    Raises CommandError where it may be done ``once`` and was.
    """
    where = Partition(topic.name, 0)
    producer = await log.fence(topic.name, [where, *writes])
    try:
        if once and (before := (await done_before(log, topic)).get(operation.key)):
            raise CommandError(f"{operation.key} was done already: {before.what} by {before.by}, {before.details}")
        await producer.begin()
        for partition, records in writes.items():
            await producer.append(partition, records)
        await producer.append(where, [Record(operation.key.encode(), operation.encoded(), time.time_ns() // 1_000_000)])
        return await producer.commit()
    finally:
        await producer.close()
