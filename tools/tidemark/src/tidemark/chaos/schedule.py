"""Which faults a storm has, and in which order: a pure function of its seed."""

import random
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Final

from common.contracts.topics import ORDERS_INTENTS, ORDERS_VENUE_CHANGELOG, RISK_DECISIONS, RISK_GATE_CHANGELOG
from streams.process.failpoints import FAILPOINTS, SOURCE_FAILPOINTS

from tidemark.chaos.faults import Failpoint, Fault, Kill, Rebalances, SameId, Zombie
from tidemark.chaos.log_faults import ForeignTransaction, RecreatedTopic, TrimmedChangelog
from tidemark.chaos.machine_faults import NETWORK_FAULTS, ClockJump, FullDisk, Network
from tidemark.chaos.part_faults import Brokers, OneBroker, PartKilled
from tidemark.chaos.store_faults import DamagedStore

STAGES: Final = ("signals", "risk", "orders")
PASSINGS_MAX: Final = 20
JUMP_S: Final = (2.0, 7_200.0)


def _steps(protocol: str) -> Callable[[random.Random], list[Fault]]:
    """The numbered steps of the commit, or of opening, in every service that passes them."""

    def make(chance: random.Random) -> list[Fault]:
        # Opening passes each step once per task, committing again and again.
        last = PASSINGS_MAX if protocol == "commit" else 1
        return [
            Failpoint(service, step, chance.randint(1, last))
            for service in (*STAGES, "ingest")
            for step in (SOURCE_FAILPOINTS if service == "ingest" else FAILPOINTS)
            if step.startswith(f"{protocol}.")
        ]

    return make


def _jumps(chance: random.Random) -> list[Fault]:
    return [
        ClockJump(service, sign * round(chance.uniform(*JUMP_S)))
        for service in ("risk", "orders", "ingest")
        for sign in (1, -1)
    ]


def _strangers(chance: random.Random) -> list[Fault]:
    inputs = (("risk", ORDERS_INTENTS), ("orders", RISK_DECISIONS))
    return [ForeignTransaction(service, topic, chance.randrange(topic.partitions)) for service, topic in inputs]


CATALOGUE: Final[dict[str, Callable[[random.Random], list[Fault]]]] = {
    "kill": lambda _: [Kill(service) for service in ("ingest", "signals", "risk", "orders", "push")],
    "commit-step": _steps("commit"),
    "open-step": _steps("open"),
    "own-step": _steps("own"),
    "zombie": lambda _: [Zombie(service) for service in ("risk", "orders", "signals", "risk")],
    "rebalance": lambda _: [Rebalances("risk")],
    "brokers": lambda _: [Brokers()],
    "one-broker": lambda chance: [
        OneBroker(chance.randrange(RISK_GATE_CHANGELOG.partitions), leader=leader) for leader in (False, True)
    ],
    "redis": lambda _: [PartKilled("redis")],
    "postgres": lambda _: [PartKilled("postgres")],
    "disk": lambda _: [FullDisk()],
    "clock": _jumps,
    "network": lambda _: [Network(what) for what in NETWORK_FAULTS],
    "damaged-store": lambda _: [DamagedStore(service) for service in ("risk", "orders")],
    "foreign-transaction": _strangers,
    "same-id": lambda _: [SameId("risk")],
    "trimmed-changelog": lambda chance: [TrimmedChangelog(chance.randrange(ORDERS_VENUE_CHANGELOG.partitions))],
    "recreated-topic": lambda _: [RecreatedTopic()],
}
"""Kind → every fault of it, with what is left to chance chosen."""
ORDERED: Final = frozenset({"one-broker"})
"""Kinds whose faults come in their own order: one broker is lost, then the leader."""


def matches(fault: Fault, only: Collection[str]) -> bool:
    """Whether ``--only`` asks for it: by kind, ``kind:service``, or a step's name."""
    return not only or bool({fault.kind, f"{fault.kind}:{fault.service}", fault.detail} & set(only))


class Schedule:
    """Faults without end: every kind once, then again those that are left of each, until all were had; then anew."""

    def __init__(self, seed: int, only: Collection[str] = ()) -> None:
        self._chance = random.Random(seed)
        self._only = only
        self._queues: dict[str, deque[Fault]] = {}

    def chosen(self) -> list[Fault]:
        """One of each fault that is asked for."""
        chance = random.Random(0)
        return [fault for make in CATALOGUE.values() for fault in make(chance) if matches(fault, self._only)]

    def rounds(self) -> Iterator[list[Fault]]:
        """Lists of faults of different kinds."""
        while True:
            if not any(self._queues.values()):
                self._refill()
            kinds = [kind for kind, queue in self._queues.items() if queue]
            self._chance.shuffle(kinds)
            yield [self._queues[kind].popleft() for kind in kinds]

    def _refill(self) -> None:
        for kind, make in CATALOGUE.items():
            faults = [fault for fault in make(self._chance) if matches(fault, self._only)]
            if kind not in ORDERED:
                self._chance.shuffle(faults)
            self._queues[kind] = deque(faults)
