"""One seed, one history: what is fed when, what goes wrong when, and whether every promise was kept."""

import asyncio
import json
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streams.model.log import Partition, Record
from streams.process.settings import BatchSettings, RestartSettings, Settings, StoreSettings
from streams.stage.standby import Standby
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

from common.testing.simulation import clock, work
from common.testing.simulation.beginnings import begin_anew, lose_rows
from common.testing.simulation.cluster import Cluster, Producers
from common.testing.simulation.harms import HARMS
from common.testing.simulation.work import INTENTS, PARTITIONS, REPORTS, Wrong

STORM_S: Final = 60.0
CALM_S: Final = 900.0
"""Virtual time after the storm within which everything must be handled."""
TRANSACTION_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 2.0
SLOW_PROBABILITIES: Final = (0.02, 0.02, 0.2)
"""Probability that a request is slow, per history: races need steps that overlap."""
MESSAGES: Final = (20, 80)
EVENTS: Final = (4, 24)
POISON_PROBABILITY: Final = 0.04
KINDS: Final = (
    "kill", "start", "stop", "resume", "rebalance", "confuse", "broker down", "broker up", "time out", "compact",
    "forget marker",
)  # fmt: skip
MODES: Final[dict[str, tuple[Producers, ...]]] = {
    "task": ("task", "task", "task"),
    "process": ("process", "process", "process"),
    "mixed": ("process", "task", "process"),
    "race": ("process", "process", "process"),
    "standby": ("process", "process", "task"),
    "laggard": ("process", "process", "process"),
    "operator": ("process", "task", "process"),
    "strangers": ("process", "task", "process"),
    "disk": ("process", "process", "task"),
    "beginning": ("process", "task", "process"),
}
"""How each worker's producers are set. In a race they take partitions from each other all the time, in small steps.
With standbys each worker follows the partitions that it does not serve. A step of a laggard takes as long as the others
need to take a partition: what it has begun is overtaken, while whoever has the partition has much to do."""
RACE: Final = "race"
LAGGARD: Final = "laggard"
RACES: Final = frozenset({RACE, LAGGARD})
LAGGARD_MESSAGES: Final = (300, 500)
LAGGARD_EVENTS: Final = (120, 240)
LAGGARD_KINDS: Final = (*["contend"] * 3, "rebalance", *["compact"] * 4)
LAG_S: Final = (0.2, 0.6)
OPERATOR: Final = "operator"
OPERATOR_KINDS: Final = tuple(kind for kind in KINDS if kind != "forget marker")
"""Lost markers are left out: whoever serves the partition next writes them again; of one that is refused that is
nobody. Nor does anybody write a stranger's again."""
OPERATIONS: Final = ("trim changelog", "truncate changelog", "recreate changelog", "trim input", "recreate input")
"""Mistakes of an operator: one or two in a history of that mode, which are to be refused or harmless."""
DISKS: Final = ("new disk", "new disk", "kill", "start", "start", "rebalance")
BEGINNING: Final = "beginning"
BEGINNING_KINDS: Final = (*(kind for kind in KINDS if kind != "forget marker"), "stop", "stop", "resume")
STRANGERS: Final = "strangers"
STRANGER_KINDS: Final = (*OPERATOR_KINDS, *["stranger writes"] * 6, *["stranger joins"] * 3, "stranger leaves")
DISK: Final = "disk"
STANDBY: Final = "standby"
FRESH_WITHIN_S: Final = 120.0
"""Virtual time after the storm within which every standby must have all of the changelog."""
RACE_EVENTS: Final = (30, 60)
RACE_KINDS: Final = (*["confuse"] * 12, "kill", "start", "start", "stop", "resume", "resume", "time out", "compact")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to the world."""

    at_s: float
    kind: str
    target: int

    def __str__(self) -> str:
        return f"{self.at_s:7.3f} s  {self.kind} {self.target}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A history before it happens. ``keep`` leaves out events, to find the shortest one that still fails."""

    seed: int
    workers: int
    events: tuple[Event, ...]
    messages: tuple[tuple[float, str, int, str, bytes], ...] = field(repr=False)
    """(at_s, topic, partition, account, value)"""


def plan(seed: int, mode: str = "task", keep: Collection[int] | None = None) -> Plan:
    """Draws the history of a seed; ``keep``: indices of the events that stay. Only a race has a plan of its own."""
    rng = random.Random(seed)
    workers = 3 if mode in RACES else rng.choice((1, 2, 3, 3))
    kinds, count = {
        RACE: (RACE_KINDS, RACE_EVENTS), LAGGARD: (LAGGARD_KINDS, LAGGARD_EVENTS), OPERATOR: (OPERATOR_KINDS, EVENTS),
        STRANGERS: (STRANGER_KINDS, EVENTS), BEGINNING: (BEGINNING_KINDS, EVENTS),
    }.get(mode, (KINDS, EVENTS))  # fmt: skip
    events = [
        Event(round(rng.random() * STORM_S, 3), rng.choice(kinds), rng.randrange(6)) for _ in range(rng.randint(*count))
    ]
    if mode == OPERATOR:
        once_or_twice = (OPERATIONS, (1, 2)), (DISKS, (3, 8))
        events += [
            Event(round(rng.random() * STORM_S, 3), rng.choice(kinds), rng.randrange(6))
            for kinds, count in once_or_twice
            for _ in range(rng.randint(*count))
        ]
    if mode == BEGINNING:
        once_or_more = (("begin anew",), (1, 3)), (("start",), (2, 5))
        events += [
            Event(round(rng.random() * STORM_S, 3), rng.choice(kinds), rng.randrange(6))
            for kinds, count in once_or_more
            for _ in range(rng.randint(*count))
        ]
    if mode == DISK:
        harms = range(rng.randint(3, 12))
        events += [Event(round(rng.random() * STORM_S, 3), rng.choice(HARMS), rng.randrange(6)) for _ in harms]
    events.sort(key=lambda event: event.at_s)
    kept = tuple(event for index, event in enumerate(events) if keep is None or index in keep)
    return Plan(seed, workers, kept, tuple(_messages(rng, LAGGARD_MESSAGES if mode == LAGGARD else MESSAGES)))


def _messages(rng: random.Random, count: tuple[int, int]) -> Iterator[tuple[float, str, int, str, bytes]]:
    for number in range(rng.randint(*count)):
        at_s, partition = rng.random() * STORM_S, rng.randrange(PARTITIONS)
        account = f"account-{partition}-{rng.randrange(3)}"
        body = {"id": str(number), "amount": rng.randint(1, 100)}
        if rng.random() < POISON_PROBABILITY:
            body["poison"] = True
        yield at_s, INTENTS.name, partition, account, json.dumps(body).encode()
        if rng.random() < 0.5:
            report = json.dumps({"id": str(number), "amount": 0}).encode()
            yield at_s + rng.random() * 10, REPORTS.name, partition, account, report


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a history."""

    plan: Plan
    wrong: tuple[Wrong, ...]
    handled: int


def simulate(seed: int, mode: str = "task", keep: Collection[int] | None = None) -> Outcome:
    """Runs one history in virtual time. ``mode``: a key of MODES."""
    history = plan(seed, mode, keep)
    try:
        return clock.run(_happen(history, mode))
    except clock.Stuck as stuck:
        return Outcome(history, (Wrong("stuck", str(stuck)),), 0)


async def _happen(history: Plan, mode: str) -> Outcome:
    rng = random.Random(f"weather {history.seed}")
    broker = work.make_log()
    settings = Settings(
        data_dir=Path("simulated"),
        batch=BatchSettings(messages_max=rng.choice((1, 3, 10))),
        restart=RestartSettings(
            backoff_min_s=0.05 if mode in RACES else 0.5, backoff_max_s=0.2 if mode in RACES else 4.0
        ),
        standbys=1 if mode == STANDBY else rng.choice((0, 1)) if mode == OPERATOR else 0,
        handover_wait_ms=0 if mode in RACES else rng.choice((0, 0, 100, 500)),
        store=StoreSettings(give_up_s=rng.choice((3.0, 10.0)) if mode == DISK else 10.0),
    )
    # A stage whose output is looked at when it opens is safe twice over. Half of the histories do without, or no fault
    # would show that the second defence makes up for. Against an operator both are needed.
    stage = work.make_stage(guarded=mode == OPERATOR or history.seed % 2 == 1)
    cluster = Cluster(broker, rng, settings, MODES[mode][: history.workers], stage)
    cluster.weather.slow_probability = 0.3 if mode == RACE else rng.choice(SLOW_PROBABILITIES)
    cluster.weather.slow_s = 0.3 if mode == RACE else cluster.weather.slow_s
    if mode == LAGGARD:
        for laggard in cluster.workers[: rng.choice((1, 2))]:
            cluster.weather.lag_s[laggard.name] = rng.uniform(*LAG_S)
    for index in range(history.workers):
        cluster.start(index)
    storm = [asyncio.create_task(_feed(broker, history)), asyncio.create_task(_storm(cluster, history))]
    sweeping = asyncio.create_task(_time_out_transactions(broker))
    wrong = await _watch(broker, storm)
    if not wrong:
        wrong = await _calm(cluster)
    handled = sum(len(broker.committed_in(work.LEDGER.name, p)) for p in range(PARTITIONS))
    for task in (*storm, sweeping):
        task.cancel()
    try:
        async with asyncio.timeout(CALM_S):
            await cluster.shut_down()
    except TimeoutError:
        wrong.append(Wrong("stuck", "a worker cannot be killed"))
    return Outcome(history, tuple(wrong), handled)


async def _feed(broker: MemoryLog, history: Plan) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for at_s, topic, partition, account, value in sorted(history.messages):
        await asyncio.sleep(max(0.0, began + at_s - loop.time()))
        broker.put(Partition(topic, partition), Record(account.encode(), value, 0))


async def _time_out_transactions(broker: MemoryLog) -> None:
    """The broker's own rule: a transaction that stays open is aborted, and its producer is shut out."""
    open_since: dict[str, tuple[int, float]] = {}
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1.0)
        for name, start in broker.open_transactions().items():
            known, since = open_since.get(name, (-1, 0.0))
            if known != start:
                open_since[name] = (start, loop.time())
            elif loop.time() - since > TRANSACTION_TIMEOUT_S:
                broker.time_out(name)


async def _storm(cluster: Cluster, history: Plan) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    begun = []
    for event in history.events:
        await asyncio.sleep(max(0.0, began + event.at_s - loop.time()))
        if event.kind != "begin anew":
            await _strike(cluster, event)
        elif await lose_rows(cluster, partition := event.target % PARTITIONS):
            begun.append(asyncio.create_task(begin_anew(cluster, partition)))
    await asyncio.sleep(max(0.0, began + STORM_S - loop.time()))
    await asyncio.gather(*begun)


async def _strike(cluster: Cluster, event: Event) -> None:
    match event.kind:
        case "kill":
            await cluster.kill(event.target)
        case "start":
            cluster.start(event.target)
        case "stop":
            cluster.stop(event.target)
        case "resume":
            cluster.resume(event.target)
        case "rebalance":
            cluster.rebalance(event.target)
        case "confuse":
            cluster.confuse()
        case "contend":
            cluster.contend(event.target)
        case "broker down":
            cluster.broker_down()
        case "broker up":
            cluster.broker_back()
        case "time out":
            ids = cluster.broker.transactional_ids()
            if ids:
                cluster.broker.time_out(ids[event.target % len(ids)])
        case "compact":
            cluster.broker.compact(Partition(work.CHANGELOG.name, event.target % PARTITIONS))
        case "new disk":
            await cluster.new_disk(event.target)
        case harm if harm in HARMS:
            cluster.strike_store(harm, event.target)
        case operation if operation in OPERATIONS:
            cluster.operate(operation, event.target)
        case "stranger writes":
            cluster.strangers.write(event.target)
        case "stranger joins":
            cluster.stranger_joins(event.target)
        case "stranger leaves":
            cluster.stranger_leaves()
        case "forget marker":
            cluster.broker.forget_marker(event.target)


async def _watch(broker: MemoryLog, storm: list[asyncio.Task[None]]) -> list[Wrong]:
    """Looks at the committed ledger while the storm goes on, which does not end where a worker cannot be killed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + STORM_S + CALM_S
    while not all(task.done() for task in storm):
        await asyncio.sleep(WATCH_S)
        if loop.time() > until:
            return [Wrong("stuck", f"the storm has not ended {CALM_S:.0f} s after its time")]
        wrong = [found for p in range(PARTITIONS) for found in work.check_ledger(broker, p)]
        if wrong:
            return wrong
    for task in storm:
        task.result()
    return []


async def _calm(cluster: Cluster) -> list[Wrong]:
    """Everybody is back; now everything must be handled, and then everything must be right."""
    cluster.broker_back()
    cluster.heal_disks()
    cluster.weather.lost_answer_probability = cluster.weather.lost_request_probability = 0.0
    for index in range(len(cluster.workers)):
        cluster.resume(index)
        cluster.start(index)
    loop = asyncio.get_running_loop()
    until = loop.time() + CALM_S
    # Who reads the register, an opening task, has its markers written by itself.
    while cluster.broker.markers_owed(besides=work.REGISTER.name) or not all(
        _handled(cluster, p) or _rests(cluster, p) for p in range(PARTITIONS)
    ):
        await asyncio.sleep(WATCH_S)
        if wrong := _failed(cluster):
            return wrong
        if loop.time() > until:
            return [Wrong("stuck", f"not everything is handled {CALM_S:.0f} s after the storm")]
    wrong = _failed(cluster)
    for partition in range(PARTITIONS):
        wrong += work.check_ledger(cluster.broker, partition)
        if cluster.refused(partition):
            continue
        wrong += work.check_end(cluster.broker, partition, cluster.store_of(partition), cluster.begun.get(partition, 0))
    return wrong + await _stale_standbys(cluster)


def _failed(cluster: Cluster) -> list[Wrong]:
    """Processes that ended, and partitions that were refused though nobody had touched their topics."""
    for worker in cluster.workers:
        if worker.crashed is not None:
            return [Wrong("crash", f"{worker.name}: {worker.crashed!r}")]
        if worker.disturbed:
            return [Wrong("disturbed", f"{worker.name}: {worker.disturbed[0]}")]
        if worker.refused_without_cause:
            return [Wrong("refused", f"{worker.name}: {worker.refused_without_cause[0]}")]
    return [Wrong("shut out", name) for name in cluster.strangers.shut_out]


async def _stale_standbys(cluster: Cluster) -> list[Wrong]:
    """Whoever follows a partition has what its owner has."""
    until = asyncio.get_running_loop().time() + FRESH_WITHIN_S
    while stale := [found for standby, store in cluster.standbys() for found in _stale(cluster, standby, store)]:
        if asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(WATCH_S)
    return stale


def _stale(cluster: Cluster, standby: Standby, store: MemoryStore) -> list[Wrong]:
    if standby.partition in cluster.struck and "refused" in (standby.state, cluster.state_of(standby.partition)):
        return []
    since = cluster.begun.get(standby.partition, 0)
    return list(work.check_store(cluster.broker, standby.partition, store, "standby", since))


def _rests(cluster: Cluster, partition: int) -> bool:
    """Whether the partition is refused, and with reason."""
    return partition in cluster.struck - cluster.begun.keys() and cluster.refused(partition)


def _handled(cluster: Cluster, partition: int) -> bool:
    """Whether the partition's owner has everything in its store."""
    store = cluster.store_of(partition)
    inputs = {topic.name: cluster.broker.committed_in(topic.name, partition) for topic in work.INPUTS}
    ends = {name: records[-1].offset + 1 if records else 0 for name, records in inputs.items()}
    positions = cluster.positions_of(partition)
    return store is not None and all(positions.get(topic, 0) == end for topic, end in ends.items())


def shortest(seed: int, mode: str = "task") -> Outcome:
    """The failing history of a seed with as few events as still make it fail."""
    keep = set(range(len(plan(seed, mode).events)))
    for index in sorted(keep):
        if simulate(seed, mode, keep - {index}).wrong:
            keep.discard(index)
    return simulate(seed, mode, keep)
