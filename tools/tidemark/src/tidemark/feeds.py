"""Which feed ingest reads, as its settings say it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.feeds import FeedUnavailable
from ingest.feeds.installed import check_options, feed_reader

from tidemark.console import CommandError

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


@dataclass(frozen=True, slots=True)
class ReaderChoice:
    """A feed reader with its sources and options, as a command was given them."""

    name: str
    sources: tuple[str, ...]
    options: Mapping[str, str]


def reader_choice(name: str, sources: Sequence[str], options: Sequence[str]) -> ReaderChoice:
    """Checked as far as that goes before it is read. Raises CommandError."""
    given = dict[str, str]()
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise CommandError(f"--option {option!r} is not name=value")
        given[key] = value
    try:
        reader = feed_reader(name)
        check_options(reader, given)
    except FeedUnavailable as error:
        raise CommandError(str(error)) from error
    if not sources:
        raise CommandError(f"--feed {name} needs a --source: {reader.description}")
    placed = tuple(source if "://" in source else str(Path(source).resolve()) for source in sources)
    for source in placed:
        if "://" not in source and not Path(source).is_file():
            raise CommandError(f"--feed {name}: {source} is no file")
    return ReaderChoice(name, placed, given)


def reader_feed(choice: ReaderChoice, speed: str = "1", date: str | None = None, feed_id: str = "") -> dict[str, str]:
    """The environment of an ingest that reads it."""
    environment = {
        "TIDEMARK_FEED": "reader",
        "TIDEMARK_FEED_READER": choice.name,
        "TIDEMARK_FEED_SOURCES": json.dumps(choice.sources),
        "TIDEMARK_FEED_OPTIONS": json.dumps(dict(choice.options)),
        "TIDEMARK_FEED_SPEED": speed,
        "TIDEMARK_FEED_ID": feed_id,
    }
    return environment | ({"TIDEMARK_FEED_DATE": date} if date else {})
