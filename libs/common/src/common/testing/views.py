"""Writes views to Redis as ``streams.views.publisher`` does, for tests of what reads them."""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from common.contracts.views import (
    CLOCKED_WRITERS,
    VIEW_WRITERS,
    WRITER_VIEW,
    Envelope,
    RedisState,
    Stamps,
    ViewModel,
    WriterData,
    view_channel,
)


class ViewWriter:
    """One publisher: hash first, then channel, numbered per scope within its epoch."""

    def __init__(self, redis: Redis, epoch: int | None = None) -> None:
        self._redis = redis
        self.epoch = epoch or time.time_ns()
        self._seqs: defaultdict[tuple[str, str], int] = defaultdict(int)

    def stamps(self) -> Stamps:
        """An origin a moment ago, as if the change had come through the fleet."""
        now_ns = time.time_ns()
        return Stamps(origin_ns=now_ns - 6_000_000, processed_ns=now_ns - 4_000_000, committed_ns=now_ns - 1_000_000)

    async def write(
        self,
        name: str,
        scope: str,
        rows: Mapping[str, ViewModel | dict[str, Any] | None],
        *,
        traceparent: str = "",
        stamps: Stamps | None = None,
        silent: bool = False,
    ) -> None:
        """Writes the rows in order; None removes a key. ``silent``: the channel loses the messages."""
        stamps = stamps or self.stamps()
        channel = view_channel(name, scope)
        pipe = self._redis.pipeline(transaction=False)
        for key, value in rows.items():
            self._seqs[name, scope] += 1
            seq = self._seqs[name, scope]
            data = value.model_dump(mode="json") if isinstance(value, ViewModel) else value
            envelope = Envelope(
                name=name,
                scope=scope,
                key=key,
                epoch=self.epoch,
                seq=seq,
                prev=seq - 1,
                data=data,
                stamps=stamps,
                traceparent=traceparent,
            ).model_dump_json()
            if data is None:
                pipe.hdel(channel, key)
            else:
                pipe.hset(channel, key, envelope)
            if not silent:
                pipe.publish(channel, envelope)
        await pipe.execute()

    async def beat(self, writer: str, *, partition: int = 0, partitions: int = 1, **said: Any) -> WriterData:
        """Says of a writer's partition that it is current, or whatever ``said`` has of ``WriterData``."""
        now_ns = time.time_ns()
        usual = {"epoch": self.epoch, "state": "live", "as_of_ns": now_ns, "redis": RedisState.OK, "at_ns": now_ns}
        usual["data_ns"] = now_ns if writer in CLOCKED_WRITERS else 0
        data = WriterData(writer=writer, partition=partition, partitions=partitions, **(usual | said))
        channel, payload = view_channel(WRITER_VIEW, writer), data.model_dump_json()
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(channel, str(partition), payload)
        pipe.publish(channel, payload)
        await pipe.execute()
        return data

    async def beat_all(self, **said: Any) -> None:
        """The same for every writer there should be."""
        for writer in sorted(set(VIEW_WRITERS.values())):
            await self.beat(writer, **said)
