"""Latency from intended to observed, in HDR histograms: the open-loop clocks of the demo and the benches."""

from dataclasses import asdict, dataclass
from typing import Final

from hdrh.histogram import HdrHistogram

MICROSECOND_NS: Final = 1_000
HIGHEST_US: Final = 120_000_000
SIGNIFICANT_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class ClockSummary:
    """Percentiles in milliseconds over ``n`` observations; None where there was none: that is no latency of zero."""

    p50_ms: float | None
    p99_ms: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)

    def __str__(self) -> str:
        if self.p50_ms is None or self.p99_ms is None:
            return "no samples"
        return f"{self.p50_ms:,.1f} / {self.p99_ms:,.1f}"


NO_SAMPLES: Final = ClockSummary(None, None, 0)


class LatencyClock:
    """One of the three clocks (processed, committed, painted) of one path. Not bounded by how long it runs."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)

    def record_ns(self, latency_ns: int) -> None:
        """Counts one observation. Below a microsecond counts as one; above two minutes as two minutes."""
        self._histogram.record_value(min(HIGHEST_US, max(1, latency_ns // MICROSECOND_NS)))

    def merge(self, other: "LatencyClock") -> None:
        """Counts the observations of another clock, too."""
        self._histogram.add(other._histogram)

    def percentile_ms(self, percentile: float) -> float:
        """The value at a percentile (0 to 100), in milliseconds."""
        return float(self._histogram.get_value_at_percentile(percentile)) / 1_000 if self.n else 0.0

    @property
    def n(self) -> int:
        return int(self._histogram.get_total_count())

    def summary(self) -> ClockSummary:
        if not self.n:
            return NO_SAMPLES
        return ClockSummary(round(self.percentile_ms(50), 3), round(self.percentile_ms(99), 3), self.n)
