"""Which feeds there are: those of ingest, and entry points of the group ``tidemark.feeds``."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from common.feeds import ENTRY_POINT, FeedReader, FeedUnavailable

BUILT_IN: Final = {
    "pcap": ("ingest.feeds.captures", "PCAP"),
    "glimpse": ("ingest.feeds.glimpse", "GLIMPSE"),
    "soupbintcp": ("ingest.feeds.streams", "SOUPBINTCP"),
    "soupbintcp-live": ("ingest.feeds.streams", "SOUPBINTCP_LIVE"),
    "dbn": ("ingest.feeds.databento", "DBN"),
    "lobster": ("ingest.feeds.lobster", "LOBSTER"),
    "kraken": ("ingest.feeds.kraken", "KRAKEN"),
    "binance": ("ingest.feeds.binance", "BINANCE"),
    "kraken-live": ("ingest.feeds.kraken_live", "KRAKEN_LIVE"),
    "csv": ("ingest.feeds.tables", "CSV"),
    "parquet": ("ingest.feeds.tables", "PARQUET"),
    "itch-raw": ("ingest.feeds.streams", "ITCH_RAW"),
}
"""Name to module and attribute. A module is imported when its feed is asked for, with the libraries it needs."""


def feed_reader(name: str) -> FeedReader:
    """The feed of this name. Raises FeedUnavailable, which says what there is."""
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name]
        reader = getattr(import_module(module), attribute)
    else:
        points = entry_points(group=ENTRY_POINT)
        found = [point for point in points if point.name == name]
        if len(found) != 1:
            there = ", ".join(sorted({*BUILT_IN, *points.names}))
            raise FeedUnavailable(f"feed {name!r} is installed {len(found)} times, not once; there are {there}")
        reader = found[0].load()
    if not isinstance(reader, FeedReader) or reader.name != name:
        raise FeedUnavailable(f"the entry point {name!r} of {ENTRY_POINT} is not the feed of that name")
    return reader


def check_options(reader: FeedReader, options: Mapping[str, str]) -> None:
    """Raises FeedUnavailable for an option that the feed does not have."""
    for name in options:
        if name != REFERENCE and name not in reader.options:
            has = ", ".join((*reader.options, REFERENCE))
            raise FeedUnavailable(f"feed {reader.name!r} has no option {name!r}; it has {has}")


def number_option(options: Mapping[str, str], name: str, default: int, possible: range) -> int:
    """A whole number. Raises FeedUnavailable for what is none, or none that is possible."""
    text = options.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) not in possible:
        raise FeedUnavailable(f"--option {name}: {text!r} is no number from {possible[0]} to {possible[-1]}")
    return int(text)


REFERENCE: Final = "reference"
"""The option that every feed has: a CSV file of instruments."""
