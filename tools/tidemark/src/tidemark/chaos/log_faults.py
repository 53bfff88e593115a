"""Faults of the log, as strangers and operators make them: a transaction left open, records or a topic deleted."""

import asyncio
import time
from typing import Final

from common.contracts.topics import (
    ORDERS_CANCEL_REPORTS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_INTENTS,
    RISK_DECISIONS,
    RISK_LEDGER,
    Topic,
)
from common.testing.accidents import recreate, trim
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition, Record
from streams.process.settings import KafkaSettings, Settings, TransactionSettings
from streams.state.store import CHANGELOG_KEY, destroy, read_row

from tidemark.chaos.faults import Fault, healed
from tidemark.chaos.recovery import Incident, Lane
from tidemark.chaos.refusals import Expected, carry_out, must_refuse
from tidemark.chaos.scene import FIRST, Scene
from tidemark.operations import operators_log
from tidemark.options import reader_settings
from tidemark.stages import stage_named

NS_PER_MS: Final = 1_000_000
STRANGER: Final = "a-job-that-hangs"
STRANGERS_TIMEOUT_MS: Final = 120_000
NAMED_WITHIN_S: Final = 25.0
NAMED_POLL_S: Final = 0.2
STAYS_S: Final = 1.0
READERS: Final = {ORDERS_INTENTS: (FIRST, "stage gate"), RISK_DECISIONS: ("orders", "stage lifecycle")}
"""Input → which service reads it, and as which stage."""


class ForeignTransaction(Fault):
    """A stranger writes to an input and leaves its transaction open; it is named to the operator, who ends it.

    Everything behind the stranger's record waits meanwhile, on that partition alone.
    """

    kind = "foreign-transaction"
    expected_s = 14.0

    def __init__(self, service: str, topic: Topic, number: int) -> None:
        super().__init__(service)
        self._topic, self._place = topic, Partition(topic.name, number)

    @property
    def detail(self) -> str:
        return self._topic.name

    async def strike(self, scene: Scene) -> Incident:
        number = self._place.number
        hit = {Lane(self.service, number)}
        if self._topic is RISK_DECISIONS:  # what the gate writes waits behind it, and so do the rows of it
            hit |= {Lane(FIRST, number), Lane("postgres")}
        bootstrap = scene.deployment.addresses.kafka_bootstrap
        log = KafkaLog(
            Settings(
                kafka=KafkaSettings(bootstrap=bootstrap),
                transaction=TransactionSettings(timeout_ms=STRANGERS_TIMEOUT_MS),
            ),
            "a-stranger",
        )
        await log.start()
        try:
            producer = await log.fence(STRANGER)
            incident = self.incident(hit, from_heal=True, detail=str(self._place))
            try:
                await producer.begin()
                record = Record(b"a-stranger", b"never committed", time.time_ns() // NS_PER_MS)
                await producer.append(self._place, [record])
                await producer.flush()
                if not await self._named(scene):
                    incident.trouble = f"nobody named {STRANGER} on {self._place}"
                await asyncio.sleep(STAYS_S)
            finally:
                await producer.abort()
                await producer.close()
        finally:
            await log.stop()
        return healed(incident)

    async def _named(self, scene: Scene) -> bool:
        """Whether a worker that waits says for whom."""
        service, stage = READERS[self._topic]
        workers = scene.workers_of(service)
        deadline = time.monotonic() + NAMED_WITHIN_S
        while time.monotonic() < deadline:
            for worker in workers:
                report = await scene.ready_page(worker)
                detail = report.get("checks", {}).get(stage, {}).get("detail") or {}
                if STRANGER in detail.get("blocked", {}).get(str(self._place), ""):
                    return True
            await asyncio.sleep(NAMED_POLL_S)
        return False


class TrimmedChangelog(Fault):
    """The store of one partition is taken away, and the changelog is deleted up to where the store had it.

    It must refuse, for half a state would look like a whole one; and it goes on where the operator puts the store back.
    From then on that store is the only copy: of the simulated venue, so that no other fault of the storm, which may
    discard a store of the gate or of the lifecycle, takes the last one.
    """

    kind = "trimmed-changelog"
    expected_s = 30.0
    must_refuse = True

    def __init__(self, number: int) -> None:
        super().__init__("orders")
        self._number = number

    async def strike(self, scene: Scene) -> Incident:
        stage, worker, number = stage_named("orders.venue"), self.service, self._number
        changelog = Partition(stage.changelog.name, number)
        where = scene.deployment.addresses
        incident = self.incident(await scene.lanes_of(worker), from_heal=True, detail=str(changelog))
        store = scene.store(worker, stage, number)
        kept = store.with_name("store-put-aside")
        await scene.fleet.stop([worker])
        complete = int(read_row(store, CHANGELOG_KEY) or b"0")
        store.rename(kept)
        try:
            async with operators_log(reader_settings(where)) as log:
                await trim(where.kafka_bootstrap, log, stage.changelog, number, complete)
                await scene.fleet.start([worker])
                expected = Expected(
                    worker, stage, frozenset({number}), (str(changelog), "rows between the two are lost")
                )
                seen = await must_refuse(scene, log, expected)
            incident.refused, incident.trouble = not seen.trouble, seen.trouble
        finally:
            await scene.fleet.stop([worker])
            await asyncio.to_thread(destroy, store)
            kept.rename(store)
            await scene.fleet.start([worker])
        return healed(incident)


class TrimmedGate(Fault):
    """The gate's changelog of one partition loses everything, and every store of it goes: the last copies of its rows.

    It must refuse; and by the command that it names it goes on with the rows that it had, made again from what it said.
    """

    kind = "trimmed-gate"
    expected_s = 60.0
    must_refuse = True

    def __init__(self, number: int) -> None:
        super().__init__(FIRST)
        self._number = number

    async def strike(self, scene: Scene) -> Incident:
        stage, number, where = stage_named("risk.gate"), self._number, scene.deployment.addresses
        changelog = Partition(stage.changelog.name, number)
        lanes = {Lane(FIRST, each) for each in range(stage.changelog.partitions)}
        incident = self.incident(lanes, from_heal=True, detail=str(changelog))
        await scene.fleet.stop(scene.gate_workers)
        for worker in scene.gate_workers:
            if (store := scene.store(worker, stage, number)).is_dir():
                await asyncio.to_thread(destroy, store)
        async with operators_log(reader_settings(where)) as log:
            end = await log.high_watermark(changelog)
            await trim(where.kafka_bootstrap, log, stage.changelog, number, end)
            await scene.fleet.start([FIRST])  # alone, it is given every partition
            names = (str(changelog), "rows between the two are lost", "tidemark stage begin")
            seen = await must_refuse(
                scene, log, Expected(FIRST, stage, frozenset({number}), names, (RISK_DECISIONS, RISK_LEDGER))
            )
        await scene.fleet.stop([FIRST])
        trouble = await carry_out(scene, seen.reasons.values())
        await scene.fleet.start(scene.gate_workers)
        incident.refused, incident.trouble = not seen.trouble, seen.trouble or trouble
        return healed(incident)


class RecreatedTopic(Fault):
    """An input is deleted and created again under its reader, which must refuse every partition of it.

    It goes on by the command that the refusal names. The input is the one with cancel requests: what was under way is
    asked for again by whoever had no answer.
    """

    kind = "recreated-topic"
    expected_s = 45.0
    must_refuse = True

    def __init__(self) -> None:
        super().__init__("orders")

    @property
    def detail(self) -> str:
        return ORDERS_CANCELS.name

    async def strike(self, scene: Scene) -> Incident:
        stage, worker, where = stage_named("orders.lifecycle"), self.service, scene.deployment.addresses
        incident = self.incident(await scene.lanes_of(worker), from_heal=True)
        names = (f"topic {ORDERS_CANCELS.name}", "it is another log", "tidemark stage seek")
        numbers = frozenset(range(ORDERS_CANCELS.partitions))
        expected = Expected(worker, stage, numbers, names, (ORDERS_EVENTS, ORDERS_CANCEL_REPORTS))
        async with operators_log(reader_settings(where)) as log:
            await recreate(where.kafka_bootstrap, log, ORDERS_CANCELS, scene.brokers)
            seen = await must_refuse(scene, log, expected)
        await scene.fleet.stop([worker])
        trouble = await carry_out(scene, seen.reasons.values())
        await scene.fleet.start([worker])
        incident.refused, incident.trouble = not seen.trouble, seen.trouble or trouble
        return healed(incident)
