"""The event time that a partition has reached: of what is earlier nothing is waited for any more.

Each feed has a watermark of its own: the greatest event time that it has told, less its bound, which is how far its
messages may be out of order. The partition's is the least of its feeds' (Akidau et al., "The Dataflow Model", VLDB
2015). A feed is not waited for once its session has ended, nor while it says nothing: whether it does is told by the
wall clocks in the headers of frames. So the watermark depends on the log alone, and a replay comes to the same one at
the same place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from common.contracts.ticks import FRAME_HEADER
from common.contracts.topics import MD_EVENTS
from common.contracts.windows import EVENTS_BOUND_NS, FEED_IDLE_NS

from signals.domain.layout import Array

FEED: Final = np.dtype(
    [
        ("name", FRAME_HEADER["feed"]),
        ("newest_ns", "<i8"),  # greatest event time that it has told
        ("heard_ns", "<i8"),  # wall clock of its newest frame
        ("ended_ns", "<i8"),  # when its session ended; -1: it goes on
    ]
)
"""A feed of a partition, as a snapshot has it."""
SPORADIC: Final = frozenset({MD_EVENTS.name.encode()})
"""Feeds that promise no heartbeats: their silence says nothing."""
_NEVER_NS: Final = -1


@dataclass(frozen=True, slots=True)
class FeedBounds:
    """``bounds_ns``: by how much a feed's messages may be out of order, by its name; of one that is not named: 0.
    ``idle_ns``: after so long a silence nobody waits for a feed, until it is heard again.
    """

    bounds_ns: Mapping[str, int] = field(default_factory=lambda: {MD_EVENTS.name: EVENTS_BOUND_NS})
    idle_ns: int = FEED_IDLE_NS


@dataclass(slots=True)
class _Feed:
    bound_ns: int
    newest_ns: int = 0
    heard_ns: int = 0
    ended_ns: int = _NEVER_NS

    @property
    def goes_on(self) -> bool:
        return self.newest_ns > self.ended_ns


class Watermark:
    """The watermark of one partition. ``ns``: the event time that it has reached."""

    def __init__(self, bounds: FeedBounds) -> None:
        self._bounds = bounds
        self._feeds: dict[bytes, _Feed] = {}
        self._own = self._feed(b"")
        self._feeds.clear()
        self._heard_ns = 0
        self.ns = 0
        self.forced = 0
        """How often a feed was waited for until there was no room for what waited with it."""
        self.is_clock = True
        """Whether each tick of the frame brings the watermark to the partition's clock, the greatest event time: it
        does where the frame's feed is in order and the only one that is waited for.
        """

    def _feed(self, name: bytes) -> _Feed:
        found = self._feeds.get(name)
        if found is None:
            found = self._feeds[name] = _Feed(self._bounds.bounds_ns.get(name.decode(), 0))
        return found

    def _waited_for(self) -> list[_Feed]:
        since_ns = self._heard_ns - self._bounds.idle_ns
        return [feed for feed in self._feeds.values() if feed.goes_on and feed.heard_ns >= since_ns]

    def hear(self, name: str, ingest_ns: int, clock_ns: int) -> None:
        """A frame of the feed begins, made at ``ingest_ns``. ``clock_ns``: the partition's clock before it."""
        own = self._own = self._feed(name.encode())
        own.heard_ns = max(own.heard_ns, ingest_ns)
        self._heard_ns = max(self._heard_ns, ingest_ns)
        is_alone = len(self._feeds) == 1 or all(feed is own for feed in self._waited_for())
        self.is_clock = is_alone and own.bound_ns == 0 and self.ns == clock_ns

    def follow(self, clock_ns: int) -> None:
        """Ticks have brought the partition's clock here, and the watermark with it."""
        if clock_ns > self.ns:
            self.ns = self._own.newest_ns = clock_ns

    def reach(self, newest_ns: int, clock_ns: int) -> int:
        """The frame's feed has told ``newest_ns``. Returns the greatest time that it ever has."""
        own = self._own
        own.newest_ns = max(own.newest_ns, newest_ns)
        waited_for = self._waited_for()
        reached_ns = min((feed.newest_ns - feed.bound_ns for feed in waited_for), default=clock_ns)
        self.ns = max(self.ns, min(reached_ns, clock_ns))
        return own.newest_ns

    def pass_all(self, clock_ns: int) -> None:
        """Nothing is waited for any more."""
        self.ns = clock_ns

    def force(self, clock_ns: int) -> None:
        """Whoever is waited for holds back more than there is room for."""
        self.forced += 1
        self.pass_all(clock_ns)

    def end_session(self) -> None:
        """The session of the frame's feed is over at the watermark."""
        self._own.newest_ns = self._own.ended_ns = self.ns

    def begin_session(self, clock_ns: int) -> None:
        """The frame's feed begins anew at ``clock_ns``, and the partition with it."""
        own = self._own
        self._feeds = {name: feed for name, feed in self._feeds.items() if feed is own}
        own.newest_ns, own.ended_ns = clock_ns, _NEVER_NS
        self.ns = clock_ns
        self.is_clock = own.bound_ns == 0

    def lag_ns(self, now_ns: int) -> int:
        """How far the watermark is behind what its bounds allow: for how long no feed that has heartbeats was heard,
        and how much the slowest feed is behind the one that is furthest. 0 where every session is over.
        """
        steady = [feed.heard_ns for name, feed in self._feeds.items() if feed.goes_on and name not in SPORADIC]
        waited_for = self._waited_for()
        slowest = min(waited_for, key=lambda feed: feed.newest_ns - feed.bound_ns, default=self._own)
        behind_ns = max((feed.newest_ns for feed in waited_for), default=slowest.newest_ns) - slowest.newest_ns
        return max(0, now_ns - max(steady, default=now_ns)) + behind_ns

    # --- snapshots -------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot."""
        feeds = np.zeros(len(self._feeds), FEED)
        for row, (name, feed) in zip(feeds, self._feeds.items(), strict=True):
            row["name"] = name
            for column in ("newest_ns", "heard_ns", "ended_ns"):
                row[column] = getattr(feed, column)
        return {"feeds": feeds, "counters": np.array([self.ns, self.forced], np.int64)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what ``arrays`` gave; the bounds are this object's own."""
        self._feeds = {}
        for name, *times in arrays["feeds"].tolist():
            feed = self._feed(name)
            feed.newest_ns, feed.heard_ns, feed.ended_ns = times
        self._heard_ns = max((feed.heard_ns for feed in self._feeds.values()), default=0)
        self.ns, self.forced = arrays["counters"].tolist()
