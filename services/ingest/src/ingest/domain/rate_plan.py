"""How busy a generated day is over its time: rates, ramps and multiples, as a monotone map of the exchange's time.

A plan is a list of ``SECONDS@RATE`` or ``SECONDS@FROM..TO``; a rate is a number of events per second, with ``k`` or
``M`` behind it, or a multiple of the base rate such as ``10x``: ``60@1M..7M,30@2x,5@10x,60@1x``.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_RATE: Final = r"(\d+(?:\.\d+)?[kMx]?)"
_PART: Final = re.compile(rf"(\d+)@{_RATE}(?:\.\.{_RATE})?$")
_KNOTS_PER_S: Final = 100
_UNITS: Final = {"k": 1_000.0, "M": 1_000_000.0}
NS: Final = 1_000_000_000


class RatePlanError(ValueError):
    """The text is no plan."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which the rate goes from one to the other in a straight line."""

    seconds: int
    first_rate: float
    last_rate: float

    @property
    def events(self) -> float:
        return self.seconds * (self.first_rate + self.last_rate) / 2

    def shared(self, parts: int) -> str:
        """One of so many equal parts of it, as a plan's text."""
        first, last = (max(1.0, rate / parts) for rate in (self.first_rate, self.last_rate))
        return f"{self.seconds}@{first:.6f}..{last:.6f}"


def parse_plan(text: str, base_rate: int) -> tuple[Segment, ...]:
    """Raises RatePlanError."""
    segments = []
    for part in text.split(","):
        found = _PART.match(part.strip())
        if found is None:
            raise RatePlanError(f"{part.strip()!r} is not SECONDS@RATE or SECONDS@FROM..TO")
        seconds, first, last = found.groups()
        rates = [_rate(rate, base_rate) for rate in (first, last or first)]
        if not int(seconds) or min(rates) < 1:
            raise RatePlanError(f"{part.strip()!r} has no time, or less than one event per second")
        segments.append(Segment(int(seconds), *rates))
    return tuple(segments)


def _rate(text: str, base_rate: int) -> float:
    try:
        if text.endswith("x"):
            return float(text[:-1]) * base_rate
        return float(text.rstrip("kM")) * _UNITS.get(text[-1], 1.0)
    except ValueError as error:
        raise RatePlanError(f"{text!r} is no rate") from error


class Warp:
    """Moves stamps of a day of ``base_rate`` events per second, from ``open_ns`` on, so that it follows the plan.

    Order is kept; what is stamped before the opening stays.
    """

    def __init__(self, segments: tuple[Segment, ...], base_rate: int, open_ns: int) -> None:
        self.events = sum(segment.events for segment in segments)
        self.seconds = sum(segment.seconds for segment in segments)
        self._open_ns = open_ns
        self._base_rate = base_rate
        times, events = [0.0], [0.0]
        for segment in segments:
            steps = np.linspace(0, 1, segment.seconds * _KNOTS_PER_S + 1)[1:]
            slope = (segment.last_rate - segment.first_rate) / 2
            events += (events[-1] + segment.seconds * (segment.first_rate * steps + slope * steps**2)).tolist()
            times += (times[-1] + segment.seconds * steps).tolist()
        self._times, self._events = np.array(times), np.array(events)

    def stamps(self, stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Nanoseconds since midnight, moved."""
        since = (stamps - self._open_ns).astype(np.float64) / NS * self._base_rate
        moved = np.interp(since, self._events, self._times)
        beyond = np.maximum(0.0, since - self._events[-1]) / self._base_rate
        found: Any = np.where(stamps < self._open_ns, stamps, self._open_ns + ((moved + beyond) * NS).astype(np.int64))
        return np.maximum.accumulate(found) if len(found) else found
