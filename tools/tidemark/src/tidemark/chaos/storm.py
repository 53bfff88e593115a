"""A storm from beginning to end: deployment, traffic, one fault after the other, and the audit."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from common.contracts.rights import Role
from common.contracts.topics import ACCOUNTS, GROUPS, MARKET
from parts import Jvm, PartsError
from streams.kafka.partitioner import partition_of
from streams.model.errors import LogError
from streams.model.topics import DEFAULT_PARTITIONS

from tidemark.audit.run import Audit, Report
from tidemark.chaos.clocks import Clocks
from tidemark.chaos.disks import SmallDisk
from tidemark.chaos.eyes import Eyes
from tidemark.chaos.faults import Fault
from tidemark.chaos.hosts import SecondHost
from tidemark.chaos.part_faults import log_lanes
from tidemark.chaos.recovery import Incident, Lane, table
from tidemark.chaos.scene import GUESTS, SECOND, SESSION_TIMEOUT_S, WORKER_IDS, Scene
from tidemark.chaos.schedule import Schedule
from tidemark.chaos.traffic import Traffic
from tidemark.deployment import Deployment, DeploymentOptions, opening_s
from tidemark.feeds import synthetic_feed
from tidemark.fleet import FleetError
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, holdings
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir

MARKET_RATE: Final = 500.0
MARKET_SYMBOLS: Final = 20
"""At least; see ``symbols_of``."""
SLOW_FEED: Final = {"TIDEMARK_FEED_STEP_MS": "400", "TIDEMARK_FEED_HEARTBEAT_INTERVAL_MS": "400"}
"""Every step and every heartbeat is a transaction per partition, on three brokers: the cores are for the recoveries."""
IMPATIENT: Final = {
    "TIDEMARK_SESSION_TIMEOUT_MS": f"{SESSION_TIMEOUT_S * 1000:.0f}",
    "TIDEMARK_RESTART_BACKOFF_MAX_S": "4",
}
"""Shorter than the defaults, so that an hour's worth of faults fits into ten minutes."""
SYMBOLS_TRADED: Final = 12
HELD_EACH: Final = 2
ACCOUNTS_LEAST: Final = 24
ACCOUNTS_SEARCHED: Final = 5_000
MARKET_TIMEOUT_S: Final = 120.0
RECOVERY_MAX_S: Final = 90.0
CALM_S: Final = (0.3, 1.5)
CALM_FIRST_S: Final = 2.0
QUIET_TIMEOUT_S: Final = 60.0
AUDIT_TIMEOUT_S: Final = 60.0
WATCH_S: Final = 0.02
NOT_SECURED: Final = "certificates are for this host alone"
RESTART_WAIT_MAX_S: Final = 1.0
COPIES: Final = frozenset(Lane(name) for name in ("push", "redis", "postgres"))


def traders() -> tuple[str, ...]:
    """The accounts that trade: at least one on every partition, for one without is silent, whatever befalls it."""
    chosen = list(account_names(ACCOUNTS_LEAST, "storm"))
    heard = {_partition_of(account) for account in chosen}
    for account in account_names(ACCOUNTS_SEARCHED, "storm")[ACCOUNTS_LEAST:]:
        if _partition_of(account) not in heard:
            heard.add(_partition_of(account))
            chosen.append(account)
    return tuple(chosen)


def symbols_of(partitions: Mapping[str, int]) -> int:
    """How many symbols the market has, so that each of its partitions has one: ids are given in turn, and a partition
    without a symbol is silent, whatever befalls it. ``partitions``: as ``StormOptions`` has them.
    """
    return max(MARKET_SYMBOLS, partitions.get(MARKET.name, DEFAULT_PARTITIONS))


def _partition_of(account: str) -> int:
    return partition_of(account.encode(), ACCOUNTS.partitions)


@dataclass(frozen=True, slots=True)
class StormOptions:
    """Options of a storm."""

    seed: int
    seconds: float
    only: tuple[str, ...] = ()
    brokers: int = 3
    partitions: Mapping[str, int] = field(default_factory=dict)
    """Partitions by co-partition group; 4 of a group that is left out."""
    workers: int = 2
    """Workers of the gate."""
    http_per_s: float = 2.0
    topic_per_s: float = 60.0
    secure: bool = False
    """Parts speak TLS alone and know every service, and clients say who they are; all on this host."""


@dataclass(slots=True)
class Outcome:
    """Outcome of a storm."""

    options: StormOptions
    incidents: list[Incident]
    skipped: dict[str, str]
    """Fault → why it could not be had here."""
    figures: dict[str, Any]
    lost: list[str]
    unanswered: Counter[str]
    """Requests without an answer, by what came in its place."""
    broken: list[str]
    audit: Report
    wrong_accepted: list[str] = field(default_factory=list)

    @property
    def troubles(self) -> list[str]:
        return [f"{i.fault} of {i.service} ({i.detail}): {i.trouble}" for i in self.incidents if i.trouble]

    @property
    def violations(self) -> int:
        """Everything that a sound run has none of."""
        found = len(self.lost) + self.unanswered.total() + len(self.broken) + len(self.troubles)
        return found + self.audit.violations + len(self.wrong_accepted)

    def as_dict(self) -> dict[str, Any]:
        return {
            "seed": self.options.seed,
            "seconds": self.options.seconds,
            "brokers": self.options.brokers,
            "partitions": {group.name: group.partitions for group in GROUPS},
            "workers": self.options.workers,
            "faults": len(self.incidents),
            "kills": sum(incident.kills for incident in self.incidents),
            "must_refuse": sum(incident.refused is not None for incident in self.incidents),
            "refused": sum(bool(incident.refused) for incident in self.incidents),
            "lost": len(self.lost) + self.unanswered.total(),
            "unanswered": dict(self.unanswered),
            **self.figures,
            "recovery": table(self.incidents),
            "skipped": self.skipped,
            "troubles": self.troubles,
            "broken": self.broken,
            "audit_violations": self.audit.violations,
            "accepted": self.audit.orders_accepted,
            "denied": self.audit.orders_denied,
            "fills": self.audit.fills,
            "violations": self.violations,
        }


class Storm:
    """One run of ``tidemark chaos``."""

    def __init__(self, state: StateDir, options: StormOptions, report: Callable[[str], None] = lambda _: None) -> None:
        self._state = state
        self._options = options
        self._report = report
        self._schedule = Schedule(options.seed, options.only)
        self._incidents: list[Incident] = []
        self._skipped: dict[str, str] = {}

    async def run(self) -> Outcome:
        """Raises FleetError where the fleet does not come up before the first fault."""
        options = self._options
        async with AsyncExitStack() as stack:
            apart = SecondHost()
            apart.why_not = NOT_SECURED if options.secure else apart.why_not
            host = await stack.enter_async_context(apart)
            clocks = Clocks(self._state.root / "clocks")
            await asyncio.to_thread(clocks.prepare, WORKER_IDS)
            deploying = DeploymentOptions(
                any_free_ports=True,
                feed=synthetic_feed(options.seed, MARKET_RATE, symbols_of(options.partitions)) | SLOW_FEED,
                environment={**clocks.environment(), **IMPATIENT},
                keep=False,
                fresh=True,
                jvm=Jvm.START,
                provider="native",  # faults are signals to processes
                brokers=options.brokers,
                partitions=options.partitions,
                second_host="" if host.why_not else host.here,
                restart_wait_max_s=RESTART_WAIT_MAX_S,
                access=options.secure,
                secure=options.secure,
            )
            deployment = await stack.enter_async_context(Deployment(self._state, deploying, self._report))
            disk = stack.enter_context(SmallDisk(self._state.data / SECOND))
            chance = random.Random(options.seed)
            scene = Scene(deployment, host, disk, clocks, chance, self._report, options.workers)
            stack.callback(scene.close)
            # Before the disk below it is taken away.
            stack.push_async_callback(deployment.fleet.stop, scene.add_gate_workers())
            return await self._trade(scene)

    async def _trade(self, scene: Scene) -> Outcome:
        where, options = scene.deployment.addresses, self._options
        url = scene.deployment.url("orders")
        trades = scene.deployment.credential("storm", (Role.TRADER, Role.OPERATOR))
        watches = scene.deployment.credential("observer", (Role.AUDITOR, Role.MARKET_RAW))
        async with QuoteBoard(where.redis_url) as quotes:
            try:
                within_s = opening_s(MARKET_TIMEOUT_S)
                market = quotes.wait_for_market(SYMBOLS_TRADED, within_s)
                _, symbols = await asyncio.gather(scene.start_gate_workers(within_s), market)
            except TimeoutError:
                raise FleetError(f"no symbol has a quote after {within_s:g} s") from None
            await quotes.watch(symbols)
            accounts = traders()
            self._report(f"the market is open with {len(symbols)} symbols; opening {len(accounts)} accounts")
            held = holdings(accounts, symbols, each=HELD_EACH)
            async with HttpGateway(url, credential=trades) as gateway:
                await open_accounts(gateway, held)
            rates = {"http_per_s": options.http_per_s, "topic_per_s": options.topic_per_s}
            async with (
                Eyes(where, scene.deployment.url("push"), list(held), watches, self._shout) as eyes,
                Traffic(where, HttpGateway(url, credential=trades), quotes, held, options.seed, **rates) as traffic,
            ):
                await self._all_lanes_alive(eyes)
                self._report(f"the storm begins: {options.seconds:g} s, seed {options.seed}")
                await self._blow(scene, eyes)
                self._report("the storm is over; waiting for every answer")
                await scene.fleet.wait_ready(self._workers(scene), RECOVERY_MAX_S)
                unanswered = await traffic.finish(QUIET_TIMEOUT_S)
                await self._quiet(eyes)
                return await self._conclude(scene, eyes, traffic, unanswered)

    def _shout(self, text: str) -> None:
        self._report(f"BROKEN: {text}")

    @staticmethod
    def _workers(scene: Scene) -> list[str]:
        return [name for name in scene.fleet.names if name not in GUESTS]

    @staticmethod
    async def _all_lanes_alive(eyes: Eyes) -> None:
        """Every lane has shown an output: what is silent from the start would not be missed when it stops."""
        deadline = time.monotonic() + opening_s(MARKET_TIMEOUT_S)
        while silent := (COPIES | log_lanes()) - eyes.pulses.lanes:
            if time.monotonic() > deadline:
                raise FleetError(
                    f"no output of {', '.join(f'{lane.service} {lane.partition}' for lane in sorted(silent))}"
                )
            eyes.check()
            await asyncio.sleep(WATCH_S)
        await asyncio.sleep(CALM_FIRST_S)

    # --- the faults ----------------------------------------------------------------------------------------------

    async def _blow(self, scene: Scene, eyes: Eyes) -> None:
        ends_s = time.monotonic() + self._options.seconds
        possible = self._possible(scene)
        if not possible:
            return
        shortest_s = min(fault.expected_s for fault in possible)
        for faults in self._schedule.rounds():
            for fault in faults:
                left_s = ends_s - time.monotonic()
                if left_s < shortest_s:
                    return
                if fault.expected_s > left_s or fault.why_not(scene):
                    continue
                await self._one(fault, scene, eyes)
                if self._incidents[-1].recovered_ns is None:
                    self._report("the storm ends early: what stands still already says nothing of further faults")
                    return

    def _possible(self, scene: Scene) -> list[Fault]:
        possible = []
        for fault in self._schedule.chosen():
            if why_not := fault.why_not(scene):
                self._skipped[f"{fault.title} ({fault.service})"] = why_not
            else:
                possible.append(fault)
        return possible

    async def _one(self, fault: Fault, scene: Scene, eyes: Eyes) -> None:
        eyes.check()
        eyes.pulses.forget(time.time_ns())
        broken = eyes.invariants.duplicates.count
        try:
            incident = await fault.strike(scene)
        except (FleetError, PartsError, LogError, TimeoutError) as error:
            # What should have been struck, or should have come back, was not there: that is a finding, too.
            incident = fault.incident(log_lanes() | COPIES)
            incident.trouble = str(error) or repr(error)
        self._incidents.append(incident)
        deadline = time.monotonic() + RECOVERY_MAX_S
        while not incident.conclude(eyes.pulses):
            if time.monotonic() > deadline:
                still = ", ".join(f"{lane.service} {lane.partition}" for lane in incident.standing(eyes.pulses))
                incident.trouble = f"{incident.trouble} {still} stood still for {RECOVERY_MAX_S:g} s".lstrip()
                break
            await asyncio.sleep(WATCH_S)
        try:
            await scene.fleet.wait_ready(self._workers(scene), RECOVERY_MAX_S)
        except FleetError as error:
            incident.trouble = f"{incident.trouble} {error}".lstrip()
        else:
            incident.trouble = incident.trouble or await fault.fell_short(scene)
        await asyncio.sleep(scene.chance.uniform(*CALM_S))
        incident.duplicates = eyes.invariants.duplicates.count - broken
        took = "not within reach" if incident.recovery_s is None else f"{incident.recovery_s:.2f} s"
        self._report(
            f"{incident.fault} of {incident.service} ({incident.detail}): "
            + ("refused, healed, " if incident.refused else "")
            + f"recovered in {took}"
            + (f"; {incident.trouble}" if incident.trouble else "")
        )

    # --- the end -------------------------------------------------------------------------------------------------

    @staticmethod
    async def _quiet(eyes: Eyes) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_TIMEOUT_S):
                while not eyes.invariants.is_quiet():
                    eyes.check()
                    await asyncio.sleep(WATCH_S)

    async def _conclude(self, scene: Scene, eyes: Eyes, traffic: Traffic, unanswered: Counter[str]) -> Outcome:
        where, invariants = scene.deployment.addresses, eyes.invariants
        self._report("auditing")
        audit = await Audit(reader_settings(where), where).run(AUDIT_TIMEOUT_S)
        for asked in invariants.unanswered():
            self._blame(asked.sent_ns)
        lost = [
            *(f"{asked.order_id or 'an unreadable intent'} has no answer" for asked in invariants.unanswered()),
            *(f"{order_id} is accepted, and nothing came of it" for order_id in invariants.without_event()),
            *(
                f"{order_id} was acknowledged and is not in the log"
                for order_id in invariants.missing(traffic.acknowledged)
            ),
        ]
        broken = [f"{name}: {text}" for name, found in invariants.broken().items() for text in found.examples]
        return Outcome(
            self._options,
            self._incidents,
            self._skipped,
            invariants.summary(),
            lost,
            unanswered,
            broken,
            audit,
            list(traffic.tally.unexpected),
        )

    def _blame(self, sent_ns: int) -> None:
        """Puts a lost intent down to the fault that began last before it was sent, or soon after."""
        before: Collection[Incident] = [incident for incident in self._incidents if incident.struck_ns <= sent_ns]
        culprit = max(before, key=lambda incident: incident.struck_ns, default=None)
        culprit = culprit or (self._incidents[0] if self._incidents else None)
        if culprit is not None:
            culprit.lost += 1
