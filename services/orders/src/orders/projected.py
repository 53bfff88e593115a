"""State of the projection: for reads, for ``/health/ready`` and for the metrics."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import Gauge
from streams.edges.followers import Projection
from streams.model.errors import LogError

from orders.sink import ProjectionSink
from orders.stops import Place
from orders.trouble import DatabaseAway, Trouble

FRESH_S = 5.0
"""A projection that is no older keeps up."""
REASON_CHARS = 64
"""Characters of a text that the health view takes at most."""
AGE = Gauge("tidemark_orders_projection_age_seconds", "Age of what reads are answered from; -1: not known")
AGE.set(math.nan)  # where this process neither projects nor reads
DEGRADED = Gauge("tidemark_orders_projection_degraded", "1 while PostgreSQL has this trouble", ["trouble"])


def measure(age_s: Callable[[], float], trouble: Callable[[], Trouble | None]) -> None:
    """Has the metrics say what these say whenever they are asked."""

    def has(one: Trouble) -> float:
        return float(trouble() is one)

    AGE.set_function(age_s)
    for one in Trouble:
        DEGRADED.labels(one.value).set_function(partial(has, one))


def age_of(as_of_ns: int) -> float:
    """Seconds since that time; -1 where it is not known."""
    return max(0.0, time.time() - as_of_ns / 1e9) if as_of_ns else -1.0


def state_of(age_s: float) -> str:
    """State of a projection that nothing is known to keep from going on."""
    return "ok" if 0 <= age_s <= FRESH_S else "behind"


class ProjectedLog:
    """Implements ``reads.Projected`` on the sink and the follower that feeds it, in this process."""

    def __init__(self, sink: ProjectionSink, projection: Projection) -> None:
        self._sink = sink
        self._projection = projection
        measure(self.age_s, self.trouble)

    def reached(self, place: Place) -> int:
        return self._sink.reached.get(place, 0)

    def as_of_ns(self, place: Place) -> int:
        as_of_ns = self._projection.as_of_ns()
        stop = self._sink.stops.by_place.get(place)
        return as_of_ns if stop is None else min(as_of_ns, stop.record_ns)

    def is_going_on(self, place: Place) -> bool:
        return self._projection.trouble is None and place not in self._sink.stops.by_place

    async def moved(self) -> None:
        await self._sink.moved()

    def age_s(self) -> float:
        """Age of the oldest of what is projected."""
        stops = self._sink.stops.by_place.values()
        return age_of(min([self._projection.as_of_ns(), *(stop.record_ns for stop in stops)]))

    def trouble(self) -> Trouble | None:
        """The trouble of PostgreSQL as a whole, if it has one."""
        error = self._projection.trouble
        if error is None or isinstance(error, LogError):
            return None
        return error.trouble if isinstance(error, DatabaseAway) else Trouble.UNEXPECTED

    def check(self) -> tuple[bool, dict[str, Any]]:
        """Never a reason to be not ready: orders are taken and answered all the same. What it says is the reason."""
        error, stops = self._projection.trouble, self._sink.stops.by_place
        age_s = self.age_s()
        state = "degraded" if error is not None else "stopped" if stops else state_of(age_s)
        detail: dict[str, Any] = {"state": state, "age_s": round(age_s, 3)}
        if error is not None:
            trouble = self.trouble()
            detail |= {"reason": trouble.value if trouble else "log", "error": str(error)}
        elif stops:
            detail |= {"reason": f"{len(stops)} partitions stopped: a record does not fit"[:REASON_CHARS]}
        elif blocked := self._projection.blocked():
            detail |= {"reason": f"{len(blocked)} partitions wait for an open transaction", "blocked": blocked}
        elif self._sink.holes:
            detail |= {"reason": f"{self._sink.holes} stretches of the log expired unread"}
        if stops:
            detail |= {
                "stopped": {f"{topic}/{partition}": stop.described() for (topic, partition), stop in stops.items()},
                "stopped_partitions": len(stops),
            }
        return True, detail

    def check_alone(self) -> tuple[bool, dict[str, Any]]:
        """The same for a process that does nothing else: ready while it projects."""
        _, detail = self.check()
        return detail["state"] != "degraded", detail
