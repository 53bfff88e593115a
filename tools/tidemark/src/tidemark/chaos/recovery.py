"""How long things stood still: the committed outputs of every service, by partition, as they become visible."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, NamedTuple

from common.contracts.topics import ACCOUNTS, MARKET

NS_PER_S: Final = 1_000_000_000


class Lane(NamedTuple):
    """One partition of one service's output, which stands or runs by itself."""

    service: str
    partition: int = 0


PARTITIONED: Final = {"ingest": MARKET, "signals": MARKET, "risk": ACCOUNTS, "orders": ACCOUNTS}
"""Service → what its output is partitioned by."""


def lanes_of_service(service: str) -> set[Lane]:
    """Every partition of a service's output."""
    return {Lane(service, number) for number in range(PARTITIONED[service].partitions)}


class Pulse(NamedTuple):
    """One visible output: when it was seen, and when what caused it was sent. Nanoseconds since the epoch."""

    seen_ns: int
    cause_ns: int


class Pulses:
    """The outputs of all lanes since the last ``forget``."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, list[Pulse]] = defaultdict(list)

    @property
    def lanes(self) -> frozenset[Lane]:
        return frozenset(self._lanes)

    def note(self, lane: Lane, seen_ns: int, cause_ns: int) -> None:
        """An output is visible. Called in the order of ``seen_ns``."""
        self._lanes[lane].append(Pulse(seen_ns, cause_ns))

    def recovered_ns(self, lane: Lane, since_ns: int) -> int | None:
        """When the first output for something sent after ``since_ns`` was seen; None while there is none."""
        return next((pulse.seen_ns for pulse in self._lanes[lane] if pulse.cause_ns > since_ns), None)

    def pause_ns(self, lane: Lane, begin_ns: int, end_ns: int) -> int:
        """The longest time without an output that overlaps with this window."""
        pulses = self._lanes[lane]
        first = bisect_right(pulses, begin_ns, key=lambda pulse: pulse.seen_ns)
        seen = [pulse.seen_ns for pulse in pulses[max(0, first - 1) :] if pulse.seen_ns < end_ns] or [begin_ns]
        return max(after - before for before, after in zip(seen, [*seen[1:], max(end_ns, seen[-1])], strict=True))

    def forget(self, before_ns: int) -> None:
        """Drops what was seen before, but for the last one of each lane."""
        for lane, pulses in self._lanes.items():
            first = bisect_right(pulses, before_ns, key=lambda pulse: pulse.seen_ns)
            self._lanes[lane] = pulses[max(0, first - 1) :]


DOWNSTREAM: Final = {
    "ingest": ("signals", "redis", "push"),
    "signals": ("redis", "push"),
    "risk": ("orders", "postgres"),
    "orders": ("postgres",),
    "redis": ("push",),
}
"""Services whose output stops, or thins out, when another stands still: these are no neighbours of it."""


def neighbours(lanes: Iterable[Lane], hit: Iterable[Lane]) -> set[Lane]:
    """The lanes that a fault should not touch: neither hit, nor fed by a lane that is.

    ``risk`` and ``orders`` are both partitioned by account, so a partition of one feeds the same of the other.
    """
    fed: set[Lane] = set(hit)
    for lane in list(fed):
        for service in DOWNSTREAM.get(lane.service, ()):
            same = (
                {Lane(service, lane.partition)} if service == "orders" else {x for x in lanes if x.service == service}
            )
            fed |= same
    return set(lanes) - fed


@dataclass(slots=True)
class Incident:
    """One fault that happened."""

    fault: str
    service: str
    detail: str = ""
    """Which worker, step, node; for the reader."""
    from_heal: bool = False
    """Recovery counts from the end of the fault and not from its beginning."""
    kills: int = 0
    refused: bool | None = None
    """Whether what must refuse has refused; None where nothing must."""
    hit: set[Lane] = field(default_factory=set)
    struck_ns: int = 0
    counted_ns: int = 0
    """Time from which recovery counts: that of the fault, or of its heal."""
    recovered_ns: int | None = None
    neighbours_pause_ns: int | None = None
    duplicates: int = 0
    lost: int = 0
    trouble: str = ""
    """Deviation from what should have happened: a failpoint that was never passed, a recovery that did not come."""

    @property
    def recovery_s(self) -> float | None:
        return None if self.recovered_ns is None else max(0, self.recovered_ns - self.counted_ns) / NS_PER_S

    def conclude(self, pulses: Pulses) -> bool:
        """Whether every lane that was hit works again; then the times are taken."""
        seen = [pulses.recovered_ns(lane, self.counted_ns) for lane in self.hit]
        if None in seen:
            return False
        self.recovered_ns = max((when for when in seen if when is not None), default=self.counted_ns)
        pauses = [
            pulses.pause_ns(lane, self.struck_ns, self.recovered_ns) for lane in neighbours(pulses.lanes, self.hit)
        ]
        self.neighbours_pause_ns = max(pauses, default=None)
        return True

    def standing(self, pulses: Pulses) -> list[Lane]:
        """The lanes that have not recovered."""
        return sorted(lane for lane in self.hit if pulses.recovered_ns(lane, self.counted_ns) is None)


def table(incidents: Sequence[Incident]) -> list[dict[str, Any]]:
    """One row per fault and service, in the order of their first incident."""
    groups: dict[tuple[str, str], list[Incident]] = defaultdict(list)
    for incident in incidents:
        groups[incident.fault, incident.service].append(incident)
    return [_row(fault, service, group) for (fault, service), group in groups.items()]


def _row(fault: str, service: str, group: Sequence[Incident]) -> dict[str, Any]:
    times = [incident.recovery_s for incident in group if incident.recovery_s is not None]
    pauses = [i.neighbours_pause_ns / NS_PER_S for i in group if i.neighbours_pause_ns is not None]
    return {
        "fault": fault,
        "service": service,
        "incidents": len(group),
        "refused": None if group[0].refused is None else sum(bool(incident.refused) for incident in group),
        "counted_from": "heal" if group[0].from_heal else "injection",
        "recovery_p50_s": round(median(times), 2) if times else None,
        "recovery_max_s": round(max(times), 2) if times else None,
        "not_recovered": sum(incident.recovered_ns is None for incident in group),
        "lost": sum(incident.lost for incident in group),
        "duplicates": sum(incident.duplicates for incident in group),
        "neighbours_pause_max_s": round(max(pauses), 2) if pauses else None,
    }
