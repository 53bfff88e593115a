"""Settings of the signals service, read from ``TIDEMARK_*`` environment variables."""

from common.contracts.windows import ALLOWED_LATENESS_NS, NS
from pydantic import Field
from streams.process.settings import Settings


class SignalsSettings(Settings):
    """Settings of signals. Windows and the limits of a heartbeat are none: a replay must tell the same."""

    measures: list[str] = Field(
        default=[], description="JSON: names of shipped or installed measures, computed of every window beside the bars"
    )

    market_events: bool = Field(default=True, description="take the trades and quotes that others write to md.events")

    allowed_lateness_s: float = Field(
        default=ALLOWED_LATENESS_NS / NS,
        ge=0,
        description="trades earlier than the clock by at most this restate ended windows; earlier ones go to md.late",
    )

    snapshot_interval_s: float = Field(
        default=30.0,
        gt=0,
        description="between snapshots of a partition's market; a recovery replays from the last one",
    )
