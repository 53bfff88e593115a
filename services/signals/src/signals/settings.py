"""Settings of the signals service, read from ``TIDEMARK_*`` environment variables."""

from collections.abc import Iterable, Sequence
from typing import Self

from common.access.settings import ReachedSettings
from common.contracts.alerts import AlertLimits
from common.contracts.topics import MD_EVENTS
from common.contracts.windows import (
    ALLOWED_LATENESS_NS,
    EVENTS_BOUND_NS,
    FEED_IDLE_NS,
    NS,
    OPTIONAL_WINDOWS,
    Window,
    gaps_ns,
)
from pydantic import Field, NonNegativeFloat, model_validator
from streams.process.settings_tree import SettingsGroup

from signals.domain.venue_silence import SILENCE_NS
from signals.domain.watermark import FeedBounds


class FeedBoundSettings(SettingsGroup):
    """Disorder and silence of feeds that windows wait for."""

    bounds_s: dict[str, NonNegativeFloat] = Field(
        default={MD_EVENTS.name: EVENTS_BOUND_NS / NS},
        description="JSON: feed → how far it may be out of order without being late; of one that is not named: 0",
    )
    idle_s: float = Field(
        default=FEED_IDLE_NS / NS, gt=0, description="after so long a silence no window waits for a feed"
    )

    @property
    def bounds(self) -> FeedBounds:
        bounds_ns = {name: round(bound_s * NS) for name, bound_s in self.bounds_s.items()}
        return FeedBounds(bounds_ns, round(self.idle_s * NS))


class AlertSettings(SettingsGroup):
    """Limits of market alerts."""

    thresholds: dict[str, float] = Field(
        default={}, description='JSON: thresholds of market alerts that are not the table\'s, like {"PRICE_SPIKE": 4}'
    )
    samples_min: int = Field(
        default=AlertLimits().samples_min,
        ge=2,
        description="seconds with a trade, or a message, that a baseline needs before anything is compared with it",
    )
    hold_s: float = Field(
        default=AlertLimits().hold_ns / NS,
        gt=0,
        description="a market alert ends when its number has not been above the exit for so long",
    )

    @property
    def limits(self) -> AlertLimits:
        """Raises AlertSettingError."""
        return AlertLimits(self.thresholds, self.samples_min, round(self.hold_s * NS))

    @model_validator(mode="after")
    def _is_of_the_table(self) -> Self:
        _ = self.limits
        return self


class QuerySettings(SettingsGroup):
    """Questions about the past, each of which is replayed."""

    replays_max: int = Field(
        default=1,
        ge=0,
        description="questions about the past that are replayed at a time, each in its own process",
    )
    replay_timeout_s: float = Field(
        default=30.0, gt=0, description="after so long a question about the past is answered with 503"
    )


class SignalsSettings(ReachedSettings):
    """Settings of signals. Windows and the limits of a heartbeat are none: a replay must tell the same."""

    measures: list[str] = Field(
        default=[], description="JSON: names of shipped or installed measures, computed of every window beside the bars"
    )

    patterns: list[str] = Field(
        default=[],
        description="JSON: names of shipped or installed patterns of orders, whose matches are market alerts",
    )

    windows: list[str] = Field(
        default=[],
        description="JSON: names of the table's optional windows that are kept, too: "
        + ", ".join(window.name for window in OPTIONAL_WINDOWS),
    )

    trader_sessions: list[str] = Field(
        default=[],
        description="JSON: names of the table's session windows that are kept of accounts, from orders.events: "
        + ", ".join(window.name for window in OPTIONAL_WINDOWS if window.gap_ns),
    )

    market_events: bool = Field(default=True, description="take the trades and quotes that others write to md.events")

    venue_silence_s: float = Field(
        default=SILENCE_NS / NS,
        ge=0,
        description="a venue whose newest event on md.events is older than the others' newest by more is left out of "
        "the books until it speaks again; 0: none is",
    )

    allowed_lateness_s: float = Field(
        default=ALLOWED_LATENESS_NS / NS,
        ge=0,
        description="trades earlier than the clock by at most this restate ended windows; earlier ones go to md.late",
    )

    feed: FeedBoundSettings = FeedBoundSettings()
    alert: AlertSettings = AlertSettings()
    snapshot_interval_s: float = Field(
        default=30.0,
        gt=0,
        description="between snapshots of a partition's market; a recovery replays from the last one",
    )
    query: QuerySettings = QuerySettings()

    @property
    def optional_windows(self) -> tuple[Window, ...]:
        """Raises ValueError."""
        return _of_the_table(self.windows, OPTIONAL_WINDOWS)

    @property
    def trader_gaps_ns(self) -> tuple[int, ...]:
        """Gaps of the sessions of accounts. Raises ValueError."""
        sessions = [window for window in OPTIONAL_WINDOWS if window.gap_ns]
        return gaps_ns(_of_the_table(self.trader_sessions, sessions))

    @model_validator(mode="after")
    def _is_of_the_table(self) -> Self:
        _ = self.optional_windows, self.trader_gaps_ns
        return self


def _of_the_table(names: Iterable[str], windows: Sequence[Window]) -> tuple[Window, ...]:
    known = {window.name: window for window in windows}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: the table has {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))
