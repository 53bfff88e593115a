"""Which feed ingest reads, as its settings say it."""

from collections.abc import Mapping
from dataclasses import dataclass
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


def udp_feed(line: "UdpLine") -> dict[str, str]:
    """A MoldUDP64 line."""
    given = {"HOST": line.host, "GROUP": line.group, "SESSION": line.session, "REQUEST": line.request, "B": line.side_b}
    return {
        "TIDEMARK_FEED": "udp",
        "TIDEMARK_FEED_UDP_PORT": str(line.port),
        "TIDEMARK_FEED_DATE": line.day,
        **{f"TIDEMARK_FEED_UDP_{name}": value for name, value in given.items() if value},
    }


@dataclass(frozen=True, slots=True)
class UdpLine:
    """Addresses of a packet line, and its day."""

    port: int
    day: str
    host: str = ""
    group: str = ""
    session: str = ""
    request: str = ""
    side_b: str = ""


def refusal(environment: Mapping[str, str]) -> str | None:
    """Why ingest would refuse these settings, or the beginning of the file they name; None where it would not."""
    from ingest.domain.anomalies import Report
    from ingest.domain.framing import Framer, FramingError
    from ingest.files import RecordedFile
    from ingest.settings import IngestSettings
    from pydantic import ValidationError

    try:
        feed = IngestSettings.of({name: value for name, value in environment.items() if value}).feed
        if feed.kind != "file" or feed.file is None:
            return None
        framer = Framer(Report())
        for chunk in RecordedFile(feed.file, Report()):
            if any(True for _ in framer.feed(chunk)):
                return None
        return None if framer.finish() else f"{feed.file.name} holds no message"
    except ValidationError as error:
        return "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
    except (FramingError, OSError) as error:
        return f"{environment.get('TIDEMARK_FEED_FILE', '')}: {error}"
