"""Holders of readers: transactions that stay open, of whoever it may be, and schemas that nobody has.

A read_committed reader stops at the first record of an open transaction, and everything behind it waits, also what
others have committed long since. Any producer can do that to any topic it may write to, by dying, for as long as its
transaction timeout lasts. Nothing may be done to it, since it may still commit; but what waits can say for whom.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Final, Protocol

from streams.kafka.blockers import Blocker, HeldBack
from streams.model.errors import LogError
from streams.model.log import Partition
from streams.process import metrics
from streams.process.logs import get_logger

_log = get_logger(__name__)
LOOK_EVERY_S: Final = 1.0


class Readers(Protocol):
    """A log whose readers are looked at: ``kafka.KafkaLog``."""

    def held_back(self) -> Mapping[Partition, HeldBack]: ...

    def awaited(self) -> Mapping[Partition, str]: ...

    async def blockers(self, partition: Partition) -> list[Blocker]: ...


class BlockWatch:
    """Says once, for each partition and offset, who blocks it; and as metrics how much waits, and for how long."""

    def __init__(self, readers: Readers, app: str, name: str, after_s: float) -> None:
        self._readers = readers
        self._labels = (app, name)
        self._after_s = after_s
        self._blocked: dict[Partition, tuple[int, str]] = {}
        """Partition → the offset that is waited at, and for whom."""
        self._shown: set[Partition] = set()
        self._awaited: dict[Partition, float] = {}
        """Partition → since when, by ``time.monotonic``, it waits for a schema."""

    def of(self, topics: Collection[str]) -> dict[str, str]:
        """For the ready page: partition → who blocks it, or which schema it waits for, of these topics."""
        blocked = {place: who for place, (_, who) in self._blocked.items()} | dict(self._readers.awaited())
        return {str(place): who for place, who in sorted(blocked.items()) if place.topic in topics}

    async def keep_looking(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                await self.look()
        finally:
            self._show({}, 0.0)
            self._show_awaited((), 0.0)

    async def look(self) -> None:
        now_s = time.monotonic()
        held_back = dict(self._readers.held_back())
        self._show(held_back, now_s)
        self._show_awaited(self._readers.awaited(), now_s)
        for partition in self._blocked.keys() - held_back.keys():
            _log.info("reader_free", reader=self._labels[1], partition=str(partition))
            del self._blocked[partition]
        for partition, held in held_back.items():
            known = self._blocked.get(partition)
            if now_s - held.since_s >= self._after_s and (known is None or known[0] != held.stable):
                await self._ask(partition, held)

    async def _ask(self, partition: Partition, held: HeldBack) -> None:
        try:
            blockers = await self._readers.blockers(partition)
        except LogError as error:
            _log.warning("blocker_unknown", reader=self._labels[1], partition=str(partition), error=str(error))
            return
        first = [each for each in blockers if each.begins_at <= held.stable] or blockers
        if not first:  # it has ended meanwhile
            return
        who = "; ".join(map(str, first))
        self._blocked[partition] = (held.stable, who)
        _log.warning(
            "reader_blocked",
            reader=self._labels[1],
            partition=str(partition),
            offset=held.stable,
            waiting=held.end - held.stable,
            by=who,
        )

    def _show(self, held_back: Mapping[Partition, HeldBack], now_s: float) -> None:
        for gone in self._shown - held_back.keys():
            for gauge in (metrics.UNSTABLE, metrics.BLOCKED):
                gauge.remove(*self._labels, gone.topic, str(gone.number))
        for place, held in held_back.items():
            labels = (*self._labels, place.topic, str(place.number))
            metrics.UNSTABLE.labels(*labels).set(held.end - held.stable)
            metrics.BLOCKED.labels(*labels).set(now_s - held.since_s)
        self._shown = set(held_back)

    def _show_awaited(self, awaited: Collection[Partition], now_s: float) -> None:
        for gone in self._awaited.keys() - set(awaited):
            metrics.SCHEMA_AWAITED.remove(*self._labels, gone.topic, str(gone.number))
            del self._awaited[gone]
        for place in awaited:
            since_s = self._awaited.setdefault(place, now_s)
            metrics.SCHEMA_AWAITED.labels(*self._labels, place.topic, str(place.number)).set(now_s - since_s)
