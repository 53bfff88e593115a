"""A log of one partition of each projected topic, and a database to project it into."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from common.contracts.topics import Topic
from orders.database import Database
from orders.settings import OrdersPostgresSettings
from orders.sink import ProjectionSink
from pydantic import SecretStr
from streams.model.message import Message


def open_database(dsn: str) -> Database:
    return Database(OrdersPostgresSettings(dsn=SecretStr(dsn), timeout_ms=5_000), 4)


class Log:
    """One partition of each projected topic; ``project`` hands records on as the runtime does."""

    def __init__(self, sink: ProjectionSink) -> None:
        self.sink = sink
        self._offsets: dict[str, Iterator[int]] = {}

    def records(self, topic: Topic, *bodies: Any) -> list[Message]:
        offsets = self._offsets.setdefault(topic.name, itertools.count(0, 2))  # markers take offsets too
        return [
            Message(topic, 0, next(offsets), b"A", body if isinstance(body, bytes) else topic.schema.encode(body), 0)
            for body in bodies
        ]

    async def project(self, records: Sequence[Message]) -> None:
        last = records[-1]
        await self.sink.apply(records, {(last.topic.name, last.partition): last.offset + 1})
