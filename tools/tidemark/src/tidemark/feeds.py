"""Which feed ingest reads, as its settings say it."""

from pathlib import Path
from typing import Final

SYNTHETIC_STEP_MS: Final = 25
"""Every step is a transaction of ingest, and one of signals per partition: 200 a second take a core."""
IDLE_FEED: Final = {"TIDEMARK_FEED": "idle"}
"""Leaves the feed to ``tidemark replay``."""


def synthetic_feed(seed: int, rate_per_s: float, symbols: int, speed: str = "1") -> dict[str, str]:
    """A seeded synthetic market with so many events per second of its own time, which runs ``speed`` times as fast."""
    return {
        "TIDEMARK_FEED": "synthetic",
        "TIDEMARK_FEED_SEED": str(seed),
        "TIDEMARK_FEED_RATE": str(round(rate_per_s)),
        "TIDEMARK_FEED_SYMBOLS": str(symbols),
        "TIDEMARK_FEED_SPEED": speed,
        "TIDEMARK_FEED_STEP_MS": str(SYNTHETIC_STEP_MS),
    }


def file_feed(path: Path, speed: str = "1", date: str | None = None, feed_id: str = "") -> dict[str, str]:
    """A recorded feed, ``speed`` times as fast as recorded, or ``max``."""
    environment = {
        "TIDEMARK_FEED": "file",
        "TIDEMARK_FEED_FILE": str(path.resolve()),
        "TIDEMARK_FEED_SPEED": speed,
        "TIDEMARK_FEED_ID": feed_id,
    }
    return environment | ({"TIDEMARK_FEED_DATE": date} if date else {})
