"""Raises fences where the ledger is proven broken, and knows of those that operators have lifted."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from common.contracts.fences import PLACES_MAX, Fence, fence_key
from common.contracts.topics import AUDITOR_FENCES, ORDERS_EXECUTIONS, RISK_GATE_CHANGELOG, RISK_LEDGER
from streams.edges.reader import CommittedReader
from streams.kafka.admin import create_beside
from streams.kafka.kafka_log import KafkaLog
from streams.model.errors import Fatal, LogError
from streams.model.log import Log, Partition, Record
from streams.process.logs import get_logger
from streams.state.fences import FenceView
from streams.state.globals import GlobalFollower

from auditor import metrics
from auditor.domain.place import Positions
from auditor.proofs import Proof
from auditor.settings import AuditorSettings
from auditor.truth import LogTruth

_log = get_logger(__name__)
GATE: Final = RISK_GATE_CHANGELOG.name.removesuffix(".changelog")
"""The stage that writes the ledger."""
AUDITOR: Final = "auditor"
NAMED_MAX: Final = 3


def decide(proofs: Iterable[Proof], fences: Mapping[str, Fence], now_ns: int) -> list[Fence]:
    """The fences to be raised, or raised for more than before. ``fences``: the newest record of each key.

    What an operator has lifted a fence from raises none again.
    """
    by_partition: dict[int | None, list[Proof]] = {}
    for proof in proofs:
        by_partition.setdefault(None if proof.is_whole else proof.partition, []).append(proof)
    raised = []
    for partition, found in by_partition.items():
        before = fences.get(fence_key(GATE, partition))
        standing = before.places if before is not None and before.raised else ()
        known = before.known if before is not None else ()
        new = [proof for proof in found if proof.place not in {*standing, *known}]
        if not new:
            continue
        places = (*standing, *(proof.place for proof in new))[-PLACES_MAX:]
        reason = "; ".join(proof.text for proof in new[:NAMED_MAX])
        if len(new) > NAMED_MAX:
            reason += f"; and {len(new) - NAMED_MAX} more"
        raised.append(
            Fence(
                stage=GATE,
                partition=partition,
                raised=True,
                topic=RISK_LEDGER.name,
                reason=reason,
                places=places,
                known=known,
                by=AUDITOR,
                at_ns=now_ns,
            )
        )
    return raised


async def write(log: Log, fence: Fence) -> None:
    """Commits the newest word on a partition. Raises LogError."""
    where = Partition(AUDITOR_FENCES.name, 0)
    producer = await log.fence(AUDITOR_FENCES.name, [where])
    try:
        await producer.begin()
        now_ms = time.time_ns() // 1_000_000
        await producer.append(where, [Record(fence.key.encode(), AUDITOR_FENCES.schema.encode(fence), now_ms)])
        await producer.commit()
    finally:
        await producer.close()


class Fencing:
    """The topic of fences: its content, and our writes to it. Without the setting nothing is written."""

    def __init__(self, settings: AuditorSettings) -> None:
        self._settings = settings
        self._log = KafkaLog(settings, "auditor-fences")
        self._view = FenceView(AUDITOR_FENCES)
        self._follower = GlobalFollower(self._view.declaration, self._log, self._view, settings)
        self._ends: list[tuple[float, Positions]] = []
        self._read_through_s = float("-inf")
        """Every trade that was committed before then has been folded."""

    @property
    def raised(self) -> int:
        """How many fences are raised, by whomever."""
        return sum(row.value.raised for _, row in self._view.items())

    async def follow(self) -> None:
        """Until cancelled."""
        backoff = self._settings.restart.backoff()
        while True:
            try:
                await self._log.start()
                await self._have_topic()
                break
            except LogError as error:
                _log.warning("fences_unknown", error=str(error))
                await self._log.stop()
                await asyncio.sleep(backoff.next())
        self._follower.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self._follower.stop()
            await self._log.stop()

    async def _have_topic(self) -> None:
        try:
            await self._log.partition_count(AUDITOR_FENCES.name)
        except Fatal:
            await create_beside(self._settings.kafka.bootstrap, AUDITOR_FENCES, RISK_GATE_CHANGELOG.name)

    async def ends(self, reader: CommittedReader) -> Positions:
        """The log's ends, which are remembered: once the trades are folded up to there, one that is missing was not
        committed before.
        """
        asked_s = time.monotonic()
        found = await reader.ends()
        trades = {place: end for place, end in found.items() if place[0] == ORDERS_EXECUTIONS.name}
        self._ends = [*self._ends[:1], (asked_s, trades)]  # the oldest that was not reached, and the newest
        return found

    async def look(self, truth: LogTruth) -> None:
        """Raises what is to be raised. What could not be written is tried again at the next look."""
        while self._ends and all(truth.positions.get(place, 0) >= end for place, end in self._ends[0][1].items()):
            self._read_through_s = self._ends.pop(0)[0]
        proofs = truth.prove(self._read_through_s - self._settings.audit.fill_max_s)
        metrics.PROOFS.set(len(proofs))
        metrics.FENCES.set(self.raised)
        if not self._settings.audit.fence or not self._follower.complete.is_set():
            return
        for fence in decide(proofs, self._standing(), time.time_ns()):
            try:
                await write(self._log, fence)
            except LogError as error:
                _log.warning("fence_not_raised", fence=fence.key, error=str(error))
            else:
                self._view.put(fence.key.encode(), AUDITOR_FENCES.schema.encode(fence), 0, -1)
                _log.error("fence_raised", fence=fence.key, reason=fence.reason)

    def _standing(self) -> dict[str, Fence]:
        rows: dict[str, Any] = {key.decode(): row.value for key, row in self._view.items()}
        return {key: value for key, value in rows.items() if isinstance(value, Fence)}
