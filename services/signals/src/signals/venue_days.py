"""Days of a venue, for the run without Kafka."""

from dataclasses import dataclass

import numpy as np

from signals.domain.alignment import anchor_of
from signals.domain.layout import Array


@dataclass(frozen=True, slots=True)
class Sessions:
    """Days of a feed by the venue's clock, in order. ``anchors_ns``: where the windows of each day are aligned to;
    ``opens_ns`` and ``closes_ns``: its regular hours, where only their trades and quotes are wanted.
    """

    starts_ns: Array
    anchors_ns: Array
    opens_ns: Array | None = None
    closes_ns: Array | None = None

    def anchor_ns(self, clock_ns: int) -> int:
        """The time of day of UTC that the windows of the day of ``clock_ns`` are aligned to."""
        day = max(0, int(np.searchsorted(self.starts_ns, clock_ns, side="right")) - 1)
        return anchor_of(int(self.anchors_ns[day]))

    def is_regular(self, event_ns: Array) -> Array:
        """Whether times are within the regular hours of their day."""
        if self.opens_ns is None or self.closes_ns is None:
            return np.ones(len(event_ns), bool)
        day = np.searchsorted(self.opens_ns, event_ns, side="right") - 1
        within: Array = (day >= 0) & (event_ns < self.closes_ns[np.maximum(day, 0)])
        return within
