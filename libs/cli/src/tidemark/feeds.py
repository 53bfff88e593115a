"""Which feed ingest reads, as its settings say it."""

from pathlib import Path


def synthetic_feed(seed: int, rate_per_s: float, symbols: int | None = None) -> dict[str, str]:
    """A seeded synthetic market with so many events per second."""
    environment = {"TIDEMARK_FEED": "synthetic", "TIDEMARK_SEED": str(seed), "TIDEMARK_RATE": str(rate_per_s)}
    return environment | ({"TIDEMARK_SYMBOLS": str(symbols)} if symbols else {})


def file_feed(path: Path, speed: str, date: str | None = None) -> dict[str, str]:
    """A recorded feed at ``speed``: a factor of the recorded one, or ``max``."""
    environment = {"TIDEMARK_FEED": "file", "TIDEMARK_FEED_PATH": str(path.resolve()), "TIDEMARK_SPEED": speed}
    return environment | ({"TIDEMARK_FEED_DATE": date} if date else {})
