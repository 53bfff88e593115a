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
    """Maps a steady clock to recorded time, from the first message on. Recorded time is ns since midnight."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._from_steady_ns = -1
        self._from_stamp = 0

    @property
    def unlimited(self) -> bool:
        return self.speed == FASTEST

    @property
    def started(self) -> bool:
        return self._from_steady_ns >= 0

    def start(self, stamp: int, steady_ns: int) -> None:
        """It is ``stamp`` now."""
        self._from_stamp, self._from_steady_ns = stamp, steady_ns

    def now(self, steady_ns: int) -> int:
        """Recorded time at ``steady_ns``."""
        return self._from_stamp + int((steady_ns - self._from_steady_ns) * self.speed)

    def wait_ns(self, stamp: int, steady_ns: int) -> int:
        """Time until ``stamp`` is due; 0 if it is."""
        return max(0, math.ceil((stamp - self.now(steady_ns)) / self.speed))
