"""Partitions of topics that the projection cannot go on with, each with the record that does not fit."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Gauge
from streams.model.message import Message
from streams.process.backoff import Backoff
from streams.process.logs import get_logger

_log = get_logger(__name__)

Place = tuple[str, int]
"""Topic and partition."""
RETRY_MIN_S, RETRY_MAX_S = 5.0, 60.0
"""Somebody may have put the row right by hand; a rebuild is noticed at once."""
TEXT_CHARS_MAX: Final = 500
STOPPED = Gauge(
    "tidemark_orders_projection_stopped",
    "1 where a record does not fit its rows, so that none follows",
    ["topic", "partition"],
)


@dataclass(slots=True)
class Stop:
    """The record that does not fit, why, and when it is tried again."""

    offset: int
    account_id: str
    text: str
    record_ns: int
    """Time of the record: what was committed before it is projected."""
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_MIN_S, RETRY_MAX_S))
    retry_at: float = 0.0

    def described(self) -> dict[str, str | int]:
        return {"offset": self.offset, "account_id": self.account_id, "error": self.text}


class Stops:
    """At most one stop per partition of a projected topic."""

    def __init__(self) -> None:
        self.by_place: dict[Place, Stop] = {}
        self.waiting: set[Place] = set()
        """Those whose records are left out; the others of ``by_place`` are being tried again."""

    def stop(self, place: Place, message: Message, text: str) -> None:
        """Names the record in the log once for as long as it is the same."""
        known = self.by_place.get(place)
        if known is None or known.offset != message.offset:
            account_id = (message.key or b"").decode("utf-8", "replace")
            known = Stop(message.offset, account_id, text[:TEXT_CHARS_MAX], message.timestamp_ms * 1_000_000)
            self.by_place[place] = known
            STOPPED.labels(*place).set(1)
            topic, partition = place
            _log.error("projection_stopped", topic=topic, partition=partition, **known.described())
        known.retry_at = time.monotonic() + known.backoff.next()
        self.waiting.add(place)

    def go_on(self, place: Place) -> None:
        """Its next records fit."""
        self.waiting.discard(place)
        if self.by_place.pop(place, None) is not None:
            STOPPED.labels(*place).set(0)
            _log.info("projection_goes_on", topic=place[0], partition=place[1])

    def is_due(self) -> bool:
        """Whether one of those that wait is to be tried again."""
        now = time.monotonic()
        return any(self.by_place[place].retry_at <= now for place in self.waiting)

    def begin_anew(self, positions: Mapping[Place, int]) -> None:
        """All are read again from their positions, so all are tried again; another replica may have had more luck."""
        self.waiting.clear()
        for place, stop in list(self.by_place.items()):
            if positions.get(place, 0) > stop.offset:
                self.go_on(place)
