"""Writes views to Redis as ``common.runtime.views`` does, for tests of what reads them."""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from common.contracts.views import Envelope, Stamps, ViewModel, view_channel


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
