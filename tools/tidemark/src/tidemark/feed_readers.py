"""Feed readers as commands are given them: a name, sources and options."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from common.feeds import FeedUnavailable
from ingest.feeds.installed import check_options, feed_reader
from ingest.files import STANDARD_INPUT

from tidemark.console import CommandError
from tidemark.sinks import named_values


@dataclass(frozen=True, slots=True)
class ReaderChoice:
    """A feed reader with its sources and options. ``day`` is the exchange's, where it was given."""

    name: str
    sources: tuple[str, ...]
    options: Mapping[str, str]
    day: date | None = None

    def environment(self, speed: str = "1", feed_id: str = "") -> dict[str, str]:
        """The settings of an ingest that reads it."""
        settings = {
            "TIDEMARK_FEED": "reader",
            "TIDEMARK_FEED_READER": self.name,
            "TIDEMARK_FEED_SOURCES": json.dumps(self.sources),
            "TIDEMARK_FEED_OPTIONS": json.dumps(dict(self.options)),
            "TIDEMARK_FEED_SPEED": speed,
            "TIDEMARK_FEED_ID": feed_id,
        }
        return settings | ({"TIDEMARK_FEED_DATE": self.day.isoformat()} if self.day else {})


def reader_choice(name: str, sources: Sequence[str], options: Sequence[str], day: date | None = None) -> ReaderChoice:
    """Checked as far as that goes before it is read. Raises CommandError."""
    given = named_values(options)
    try:
        reader = feed_reader(name)
        check_options(reader, given)
    except FeedUnavailable as error:
        raise CommandError(str(error)) from error
    if not sources:
        raise CommandError(f"--feed {name} needs a --source: {reader.description}")
    placed = tuple(_placed(source) for source in sources)
    for source in placed:
        if _is_file(source) and (not Path(source).exists() or Path(source).is_dir()):
            raise CommandError(f"--feed {name}: {source} is no file")
    return ReaderChoice(name, placed, given, day)


def _is_file(source: str) -> bool:
    """Whether it is neither an address nor standard input."""
    return "://" not in source and Path(source) != STANDARD_INPUT


def _placed(source: str) -> str:
    """A file's place, wherever whoever reads it is started. A pipe has no other name than its own."""
    return str(Path(source).absolute()) if _is_file(source) else source
