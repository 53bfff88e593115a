"""How fast recorded time passes: as recorded, N times as fast, or as fast as it goes."""

import math
from typing import Final

FASTEST: Final = math.inf


def parse_speed(text: str) -> float:
    """``1`` as recorded, ``N`` times as fast, ``max`` without waiting. Raises ValueError for anything else."""
    if text.strip().lower() == "max":
        return FASTEST
    speed = float(text)
    if not (speed > 0 and math.isfinite(speed)):
        raise ValueError(f"a speed is a positive number or 'max', not {text!r}")
    return speed


class Pace:
    """Maps the wall clock to recorded time, from the first message on. Recorded time is ns since midnight."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._from_wall_ns = -1
        self._from_stamp = 0

    @property
    def unlimited(self) -> bool:
        return self.speed == FASTEST

    @property
    def started(self) -> bool:
        return self._from_wall_ns >= 0

    def start(self, stamp: int, wall_ns: int) -> None:
        """It is ``stamp`` now."""
        self._from_stamp, self._from_wall_ns = stamp, wall_ns

    def now(self, wall_ns: int) -> int:
        """Recorded time at ``wall_ns``."""
        return self._from_stamp + int((wall_ns - self._from_wall_ns) * self.speed)

    def wait_ns(self, stamp: int, wall_ns: int) -> int:
        """Wall-clock time until ``stamp`` is due; 0 if it is."""
        return max(0, math.ceil((stamp - self.now(wall_ns)) / self.speed))
