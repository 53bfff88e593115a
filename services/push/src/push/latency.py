"""The three clocks per path, each from the origin: processed, committed, painted.

The origin is the intended send time of an order and the ingest time of a tick frame, so that a stall anywhere on
the way is in the figure.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from push import metrics
from push.domain.paints import Paint
from push.domain.rows import StampsNs
from push.domain.topic import PATHS

CLOCKS: Final = ("processed", "committed", "painted")
SLICE_S: Final = 30.0
LONGEST_US: Final = 3_600_000_000
EARLY_NS: Final = 1_000_000_000
"""Clocks of two machines may disagree by so much; an end that is earlier before its origin is no latency."""
DIGITS: Final = 3


class Series:
    """One clock of one view: everything, and the last two slices of time."""

    def __init__(self) -> None:
        self.total = _histogram()
        self._slices = [_histogram(), _histogram()]
        self._until_s = 0.0

    def record(self, value_us: int, count: int, now_s: float) -> None:
        self.total.record_value(value_us, count)
        self._turn(now_s)
        self._slices[0].record_value(value_us, count)

    def recent(self, now_s: float) -> Iterable[Any]:
        self._turn(now_s)
        return self._slices

    def _turn(self, now_s: float) -> None:
        if now_s >= self._until_s:
            gone = now_s >= self._until_s + SLICE_S
            self._slices = [_histogram(), _histogram() if gone else self._slices[0]]
            self._until_s = now_s + SLICE_S


class Latency:
    """Collects stamps as they pass, and painted times as browsers report them."""

    def __init__(self, origin_span_max_s: float) -> None:
        self._span_max_us = {"orders": round(origin_span_max_s * 1_000_000), "market": LONGEST_US}
        self._series = {(view, clock): Series() for view in PATHS for clock in CLOCKS}
        self._waiting: Counter[tuple[str, StampsNs]] = Counter()

    def passed(self, view: str, stamps: StampsNs) -> None:
        """A change came from Redis. Cheap: equal stamps are counted and recorded together by ``settle``."""
        self._waiting[view, stamps] += 1

    def settle(self, now_s: float) -> None:
        """Records what passed since the last time."""
        waiting, self._waiting = self._waiting, Counter()
        for (view, stamps), count in waiting.items():
            self._record(view, "processed", stamps.origin, stamps.processed, count, now_s)
            self._record(view, "committed", stamps.origin, stamps.committed, count, now_s)

    def painted(self, paints: Iterable[Paint], now_s: float) -> None:
        """Records what a browser reports: which changes were on its screen, and when."""
        for view, stamps, painted_ns, _ in paints:
            self._record(view, "painted", stamps.origin, painted_ns, 1, now_s)

    def recent(self, now_s: float) -> dict[str, Any]:
        """``{path: {clock: {p50_ms, p99_ms, max_ms, n}}}`` of the last 30 to 60 seconds."""
        return self._paths(lambda series: series.recent(now_s))

    def total(self) -> dict[str, Any]:
        """The same since the start."""
        return self._paths(lambda series: (series.total,))

    def views(self) -> dict[str, Any]:
        """``{view: {clock: …}}`` since the start."""
        return {view: {clock: _figures((self._series[view, clock].total,)) for clock in CLOCKS} for view in PATHS}

    def _paths(self, parts: Callable[[Series], Iterable[Any]]) -> dict[str, Any]:
        report: dict[str, Any] = {}
        for path in sorted(set(PATHS.values())):
            views = [view for view, its_path in PATHS.items() if its_path == path]
            report[path] = {
                clock: _figures([part for view in views for part in parts(self._series[view, clock])])
                for clock in CLOCKS
            }
        return report

    def _record(self, view: str, clock: str, origin_ns: int, at_ns: int, count: int, now_s: float) -> None:
        series = self._series.get((view, clock))
        if series is None or not origin_ns or not at_ns:
            return
        path = PATHS[view]
        value_us = (at_ns - origin_ns) // 1_000
        if value_us > self._span_max_us[path] or origin_ns - at_ns > EARLY_NS:
            # The origin of an order is what its sender says: a clock that is wrong measures nothing.
            metrics.SPANS_IGNORED.labels(path, clock).inc(count)
            return
        series.record(max(0, value_us), count, now_s)


def _histogram() -> Any:
    return HdrHistogram(1, LONGEST_US, DIGITS)


def _figures(parts: Iterable[Any]) -> Mapping[str, float | int | None]:
    """Without samples there is no percentile, so that none is said."""
    merged = _histogram()
    for part in parts:
        merged.add(part)
    if not merged.total_count:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None, "n": 0}
    return {
        "p50_ms": merged.get_value_at_percentile(50) / 1_000,
        "p99_ms": merged.get_value_at_percentile(99) / 1_000,
        "max_ms": merged.get_max_value() / 1_000,
        "n": merged.total_count,
    }
