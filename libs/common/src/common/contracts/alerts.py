"""The one table of market alerts: what is watched of each symbol, from which number on, and how grave it is.

Alerts are judged at the end of each second of the partition's clock, from what is known by then. The topic
``md.alerts`` (key: the symbol) has one ``ALERT`` row a record. An alert is one episode: it begins where the number is
above its threshold, and ends where it has not been above the exit, 4/5 of the threshold, for the hold. A pattern of
orders that matches is an alert, too, judged at once: it begins with a match, and ends where there has been none for the
hold. ``kind`` and ``begin_ns`` name it within its symbol; ``revision`` counts its rows: the beginning, each rise of its
severity, the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.contracts.windows import NS

ALERTS_VERSION: Final = 1
"""Raised with every change of what a kind means; stands in each row."""
PPM: Final = 1_000_000
BASELINE_NS: Final = 300 * NS
"""Time before a second that it is compared with. The second itself is not in it."""
SLICE_NS: Final = NS
"""Length of what is judged."""
DEVIATION_SHARE_MIN: Final = 1e-4
"""A standard deviation below this share of the mean counts as that: a tick up after a quiet stretch is no spike."""
COMBINED_DEVIATIONS: Final = 2.0
COMBINED_VOLUMES: Final = 3.0


class Severity(IntEnum):
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Phase(StrEnum):
    """Why a row of an alert was issued."""

    BEGIN = "begin"
    RISE = "rise"
    """Its severity has risen."""
    END = "end"


class AlertKind(StrEnum):
    """Kinds that are judged by the second: a reader knows all of a version. Other kinds are names of patterns, of which
    a deployment may have any (``common.order_patterns``); ``version`` is the pattern's own then.
    """

    PRICE_SPIKE = "PRICE_SPIKE"
    VOLUME_SURGE = "VOLUME_SURGE"
    COMBINED = "COMBINED"
    SPREAD_WIDENING = "SPREAD_WIDENING"
    HIGH_VOLATILITY = "HIGH_VOLATILITY"
    PRICE_JUMP = "PRICE_JUMP"
    STALE_FEED = "STALE_FEED"
    CROSSED_BOOK = "CROSSED_BOOK"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A row of the table. ``high`` and ``critical``: from which number on it is as grave as that; None: it never is."""

    kind: AlertKind
    compared: str
    """The number that is compared, in words."""
    threshold: float
    severity: Severity
    high: float | None = None
    critical: float | None = None
    numbers: tuple[str, ...] = ()
    """Columns of a row that say what was compared."""


_PRICES: Final = ("price_e4", "mean_price_e4", "deviation_e4")
_VOLUMES: Final = ("volume", "mean_volume")
ALERT_RULES: Final = (
    AlertRule(
        AlertKind.PRICE_SPIKE,
        "distance of the second's last price from the mean of the baseline's last prices, in standard deviations",
        *(3.0, Severity.MEDIUM, 6.0, 12.0),
        _PRICES,
    ),
    AlertRule(
        AlertKind.VOLUME_SURGE,
        "shares of the second, to the mean of the baseline's seconds with a trade",
        *(5.0, Severity.LOW, 50.0, None),
        _VOLUMES,
    ),
    AlertRule(
        AlertKind.COMBINED,
        "the lesser of standard deviations / 2 and of volume / (3 x mean volume); judged beside the two above",
        *(1.0, Severity.HIGH, None, 4.0),
        (*_PRICES, *_VOLUMES),
    ),
    AlertRule(
        AlertKind.SPREAD_WIDENING,
        "spread at the end of a second with a message, to the mean of the baseline's",
        *(2.0, Severity.LOW, 10.0, None),
        ("spread_e4", "mean_spread_e4"),
    ),
    AlertRule(
        AlertKind.HIGH_VOLATILITY,
        "root of the sum of squared logarithmic returns from second to second, over the baseline and the second",
        *(0.02, Severity.MEDIUM, 0.05, 0.1),
        ("price_e4",),
    ),
    AlertRule(
        AlertKind.PRICE_JUMP,
        "distance of the second's last price from the baseline's VWAP, as a share of it",
        *(0.05, Severity.HIGH, None, 0.1),
        ("price_e4", "mean_price_e4"),
    ),
    AlertRule(
        AlertKind.STALE_FEED,
        "time without a message of a symbol in continuous trading, to the mean time between its seconds with one",
        *(20.0, Severity.HIGH, None, None),
        ("silence_ns", "mean_gap_ns"),
    ),
    AlertRule(
        AlertKind.CROSSED_BOOK,
        "best bid above best offer at the end of a second in continuous trading, as a share of their middle",
        *(0.0, Severity.HIGH, None, 0.01),
        ("spread_e4",),
    ),
)
"""Every kind that is judged by the second. Its place here is its code in the kernels and in snapshots: new ones come
last.
"""
PATTERN_NUMBERS: Final = ("price_e4", "volume", "mean_gap_ns")
"""Columns of a pattern's alert that say what matched: price and shares of the newest action, and the mean time between
its actions; ``samples`` says how many they are at least, ``peak_ppm`` how often the pattern has matched in the episode.
"""


class AlertSettingError(ValueError):
    """A threshold is set of a kind that there is not, or is no number above zero."""


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """Limits that may be set. ``thresholds``: those that are not the table's. Raises AlertSettingError."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    samples_min: int = 30
    """Seconds with a trade (with a message) that a baseline needs before it is compared with."""
    hold_ns: int = 10 * NS
    silence_min_ns: int = 5 * NS
    """A shorter silence is never stale."""

    def __post_init__(self) -> None:
        for name, threshold in self.thresholds.items():
            if name not in set(AlertKind):
                raise AlertSettingError(f"no market alert is called {name!r}; there are {', '.join(AlertKind)}")
            if not 0 <= threshold < float("inf"):
                raise AlertSettingError(f"the threshold of {name} is {threshold}, and has to be a number from 0 on")
        if self.samples_min < 2 or self.hold_ns < 1 or self.silence_min_ns < 0:
            raise AlertSettingError("a baseline needs two samples, a hold is longer than nothing")

    def threshold_of(self, rule: AlertRule) -> float:
        return self.thresholds.get(rule.kind, rule.threshold)


COMPARED: Final = tuple(
    (name, "<i8")
    for name in (
        "price_e4",
        "mean_price_e4",
        "deviation_e4",
        "volume",
        "mean_volume",
        "spread_e4",
        "mean_spread_e4",
        "silence_ns",
        "mean_gap_ns",
    )
)
"""Columns of what was compared, as it was at the peak; zeros where the kind does not compare it."""
ALERT: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("kind", "S16"),  # an AlertKind, or the name of a pattern
        ("severity", "S8"),  # a Severity's name: the gravest of the episode so far
        ("phase", "S8"),  # a Phase
        ("begin_ns", "<i8"),  # end of the first second above the threshold; of a pattern, its first match
        ("peak_ns", "<i8"),  # end of the second with the greatest number so far
        ("end_ns", "<i8"),  # end of the last second above the exit; 0: the episode goes on
        ("clock_ns", "<i8"),  # second of the partition's clock that issued the row
        ("peak_ppm", "<i8"),  # the greatest number, in millionths
        ("threshold_ppm", "<i8"),
        *COMPARED,
        ("instrument_id", "<i4"),
        ("samples", "<i4"),  # seconds that the baseline had; actions that the pattern takes
        ("revision", "<i4"),
        ("version", "<i4"),  # ALERTS_VERSION, or the pattern's own
    ]
)
Alerts = npt.NDArray[Any]
